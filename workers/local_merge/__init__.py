"""A merge on this machine without a service: `polymerge merge`, a drop-in for mergekit-yaml.

The recipe's folders and hub ids are linked into a store of the moment, and from there all goes as in a job.
"""
