"""Objects of a bucket, by S3's API: whole, if they are new, in parts, as streams."""

import base64
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from service.bucket.away import BucketAway

_PART_BYTES = 16 * 1024 * 1024
_MOST_PARTS = 10_000
_AT_ONCE = 4
"""Parts that are under way, and in memory, at a time."""
_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Found:
    """An object of the bucket."""

    key: str
    size: int
    changed_at: datetime


class Objects:
    """Keys are below the address's prefix. Threads may share it.

    Every method raises BucketAway; those that read raise FileNotFoundError for an object that is not there.
    """

    def __init__(self, address: str) -> None:
        """`address` is s3://BUCKET/PREFIX; credentials, region and endpoint are found where AWS has them."""
        # At INFO, it tells every process where it has found credentials and endpoint.
        logging.getLogger("botocore").setLevel(logging.WARNING)
        self.address = address
        parts = urlsplit(address)
        self._bucket, prefix = parts.netloc, parts.path.strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        elsewhere = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        self._s3: Any = boto3.client(
            "s3",
            config=Config(
                retries={"mode": "standard"},
                connect_timeout=10,
                # Servers other than Amazon's seldom have a host name for each bucket.
                s3={"addressing_style": "path"} if elsewhere else None,
                # Whoever reads compares sha256s, and wants to know what has other bytes.
                response_checksum_validation="when_required",
            ),
        )

    def get(self, key: str) -> bytes:
        return b"".join(self.stream(key))

    def stream(self, key: str) -> Iterator[bytes]:
        """The content, piece by piece; a stream that breaks off is taken up where it broke."""
        done = 0
        while True:
            start = done
            try:
                with _explaining(key):
                    for chunk in self._body(key, start).iter_chunks(_CHUNK):
                        done += len(chunk)
                        yield chunk
                return
            except BucketAway:
                if done == start:
                    raise

    def find(self, key: str) -> Found | None:
        try:
            with _explaining(key):
                answer = self._s3.head_object(**self._at(key))
        except FileNotFoundError:
            return None
        return Found(key, answer["ContentLength"], answer["LastModified"])

    def below(self, prefix: str) -> Iterator[Found]:
        """All whose keys begin with `prefix`, in the order of their keys."""
        pages = self._s3.get_paginator("list_objects_v2")
        with _explaining(prefix):
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix):
                for item in page.get("Contents", ()):
                    key = item["Key"].removeprefix(self._prefix)
                    yield Found(key, item["Size"], item["LastModified"])

    def put(self, key: str, content: bytes) -> None:
        """In one step, over what was there."""
        with _explaining(key):
            self._s3.put_object(**self._at(key), Body=content)

    def put_new(self, key: str, content: bytes) -> bool:
        """Unless there is one already: of several that try at the same time, one succeeds."""
        with _explaining(key):
            while True:
                try:
                    self._s3.put_object(**self._at(key), Body=content, IfNoneMatch="*")
                    return True
                except ClientError as error:
                    code = error.response["Error"]["Code"]
                    if code == "PreconditionFailed":
                        return False
                    # Somebody else was at it at that moment: S3 does not say who will have won.
                    if code != "ConditionalRequestConflict":
                        raise

    def delete(self, key: str) -> None:
        """One that is not there is deleted already."""
        with _explaining(key):
            self._s3.delete_object(**self._at(key))

    def upload(self, path: Path, key: str, sha256: str, sent: Callable[[int], None]) -> None:
        """A file, with checksums that the server compares; a large one in parts.

        `sent` hears of bytes that the bucket has, from any thread, and may raise. Raises OSError.
        """
        size = path.stat().st_size
        if size <= _PART_BYTES:
            checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
            with _explaining(key):
                self._s3.put_object(**self._at(key), Body=path.read_bytes(), ChecksumSHA256=checksum)
            sent(size)
            return
        with _explaining(key):
            started = self._s3.create_multipart_upload(**self._at(key), ChecksumAlgorithm="SHA256")
            upload = {**self._at(key), "UploadId": started["UploadId"]}
            try:
                parts = self._send_parts(path, size, upload, sent)
                self._s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
            except BaseException:
                with suppress(ClientError, BotoCoreError):
                    self._s3.abort_multipart_upload(**upload)
                raise

    def unfinished(self) -> Iterator[tuple[str, str, datetime]]:
        """Key, id and beginning of uploads in parts that are under way, or broke off."""
        pages = self._s3.get_paginator("list_multipart_uploads")
        with _explaining(self._prefix):
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix):
                for item in page.get("Uploads", ()):
                    yield item["Key"].removeprefix(self._prefix), item["UploadId"], item["Initiated"]

    def abort(self, key: str, upload: str) -> None:
        """Give up an upload in parts; the bucket keeps, and charges for, its parts until then."""
        with _explaining(key):
            self._s3.abort_multipart_upload(**self._at(key), UploadId=upload)

    def _send_parts(
        self, path: Path, size: int, upload: dict[str, str], sent: Callable[[int], None]
    ) -> list[dict[str, Any]]:
        length = max(_PART_BYTES, -(-size // _MOST_PARTS))

        def send(start: int) -> dict[str, Any]:
            number = start // length + 1
            with path.open("rb") as file:
                file.seek(start)
                body = file.read(length)
            answer = self._s3.upload_part(**upload, PartNumber=number, Body=body, ChecksumAlgorithm="SHA256")
            sent(len(body))
            return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": answer["ChecksumSHA256"]}

        with ThreadPoolExecutor(_AT_ONCE) as threads:
            try:
                return list(threads.map(send, range(0, size, length)))
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise

    def _body(self, key: str, start: int) -> Any:
        rest = {"Range": f"bytes={start}-"} if start else {}
        return self._s3.get_object(**self._at(key), **rest)["Body"]

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + key}


@contextmanager
def _explaining(key: str) -> Iterator[None]:
    """Errors of boto3 as Python's own."""
    try:
        yield
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        code = error.response["Error"]["Code"]
        if code in ("NoSuchKey", "404"):
            raise FileNotFoundError(f"the bucket has no {key}") from None
        raise BucketAway(f"the bucket refuses {error.operation_name} of {key}: {status} {code}") from error
    except BotoCoreError as error:
        raise BucketAway(f"the bucket can't be reached: {error}") from error
