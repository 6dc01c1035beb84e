"""The model store that the settings name: a folder, or a bucket with copies in a folder."""

from service.models.store import Store
from service.settings import Settings


def open_store(settings: Settings) -> Store:
    if settings.store_bucket is None:
        return Store(settings.store_root)
    # Imported when it is needed: boto3 is an extra, and takes long.
    from service.bucket.objects import Objects
    from service.bucket.store import BucketStore

    return BucketStore(settings.store_root, Objects(settings.store_bucket))
