"""A bucket of an object store as the truth of the model store; the store's folder holds copies then.

Nothing here is imported, and boto3 neither, unless POLYMERGE_STORE is s3://…
"""
