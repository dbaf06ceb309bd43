"""Objects in a bucket: S3 through boto3, its faults turned into ours."""

import hashlib
import io
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any
from urllib.parse import quote

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from shared.errors import NotFound, StorageUnavailable
from shared.settings import settings
from shared.storage import CHUNK_BYTES, Readable, Stored

_ONE_PUT_BYTES = 8 << 20
"""What goes to S3 in one request; more goes in parts."""


class S3Storage:
    """Objects in a bucket of Amazon S3 or of a server that speaks its protocol."""

    def __init__(self, bucket: str, prefix: str, client: Any, signer: Any | None = None):
        """`signer` has an endpoint that clients can reach; without one no links are given."""
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.client = client
        self.signer = signer

    def put(self, key: str, source: Readable, *, media_type: str) -> None:
        start = _read_up_to(_ONE_PUT_BYTES + 1, source)
        where = {"Bucket": self.bucket, "Key": self.prefix + key}
        with _faults(key):
            if len(start) <= _ONE_PUT_BYTES:
                # A checksum that every server knows: it refuses a body that came damaged.
                md5 = b64encode(hashlib.md5(start, usedforsecurity=False).digest()).decode()
                self.client.put_object(**where, Body=start, ContentMD5=md5, ContentType=media_type)
            else:
                self.client.upload_fileobj(
                    _Joined(start, source), **where, ExtraArgs={"ContentType": media_type}
                )

    def open(self, key: str) -> IO[bytes]:
        with _faults(key):
            found = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)
        return io.BufferedReader(_Body(found["Body"], key), CHUNK_BYTES)

    def delete(self, key: str) -> None:
        with _faults(key):
            self.client.delete_object(Bucket=self.bucket, Key=self.prefix + key)

    def list(self, prefix: str) -> Iterator[Stored]:
        with _faults(prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            for page in pages:
                for found in page.get("Contents", ()):
                    key = found["Key"].removeprefix(self.prefix)
                    yield Stored(key, found["Size"], found["LastModified"].timestamp())

    def delete_unfinished(self, prefix: str) -> None:
        with _faults(prefix):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            for page in pages:
                for found in page.get("Uploads", ()):
                    self.client.abort_multipart_upload(
                        Bucket=self.bucket, Key=found["Key"], UploadId=found["UploadId"]
                    )

    def url(self, key: str, *, filename: str, media_type: str, expires_s: int) -> str | None:
        if self.signer is None:
            return None
        # Type and disposition are part of the signature: what was uploaded cannot pose as a page.
        return self.signer.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self.bucket,
                "Key": self.prefix + key,
                "ResponseContentType": media_type,
                # In the encoded form, so that no name can end the header's value early.
                "ResponseContentDisposition": f"attachment; filename*=UTF-8''{quote(filename, '')}",
            },
            ExpiresIn=expires_s,
        )


class _Joined:
    """A stream whose start was read already."""

    def __init__(self, start: bytes, rest: Readable):
        self.start = io.BytesIO(start)
        self.rest = rest

    def read(self, size: int = -1, /) -> bytes:
        begun = self.start.read(size)
        if size < 0:
            return begun + self.rest.read()
        return begun + _read_up_to(size - len(begun), self.rest)


def _read_up_to(size: int, source: Readable) -> bytes:
    """So many bytes, or all that are left: a single read may give fewer."""
    found = bytearray()
    while len(found) < size and (chunk := source.read(size - len(found))):
        found += chunk
    return bytes(found)


class _Body(io.RawIOBase):
    """An object's bytes as they come, with the network's faults turned into ours."""

    def __init__(self, body: Any, key: str):
        self.body = body
        self.key = key

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _faults(self.key):
            chunk = self.body.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        self.body.close()
        super().close()


@contextmanager
def _faults(key: str) -> Iterator[None]:
    """Turns boto3's errors into ours."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] in {"NoSuchKey", "404"}:
            raise NotFound(f"Nothing is stored under {key!r}.") from None
        raise StorageUnavailable(f"The object storage failed: {error}") from error
    except (BotoCoreError, Boto3Error) as error:
        raise StorageUnavailable(f"The object storage failed: {error}") from error


def make_client(endpoint: str | None = None) -> Any:
    """A boto3 client by the settings, or for another endpoint of the same server.

    Signature version 4 always: presigning may fall back to 2.
    """
    ours = settings()
    secret = {
        name: value.get_secret_value()
        for name, value in (
            ("aws_access_key_id", ours.s3_access_key),
            ("aws_secret_access_key", ours.s3_secret_key),
        )
        if value is not None
    }
    config = Config(
        signature_version="s3v4",
        retries={"mode": "standard", "max_attempts": 4},
        connect_timeout=5,
        read_timeout=30,
        max_pool_connections=16,
        request_checksum_calculation=ours.s3_checksums,
        response_checksum_validation=ours.s3_checksums,
    )
    return boto3.client(
        "s3",
        endpoint_url=endpoint or ours.s3_endpoint,
        region_name=ours.s3_region,
        config=config,
        **secret,
    )


def make_signer() -> Any | None:
    """What signs links: everybody reaches AWS; another server only where the settings say so."""
    ours = settings()
    if ours.s3_endpoint is not None and ours.s3_public_endpoint is None:
        return None
    return make_client(ours.s3_public_endpoint)
