"""Apart from boto3, which is an extra: everybody may catch this."""


class BucketAway(ConnectionError):
    """The bucket can't be reached, or refuses."""
