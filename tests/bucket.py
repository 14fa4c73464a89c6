"""A real S3 server on loopback, which several processes of a test share."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from subprocess import DEVNULL, Popen

import s3fs

from tests.runs import await_condition, free_port

__all__ = ["Bucket", "start_bucket"]

_NUMBERS = count()


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket; `environment` is what a driver needs to reach it."""

    name: str
    environment: Mapping[str, str]
    server: Popen[bytes]

    @property
    def url(self) -> str:
        """As a user writes it."""
        return f"s3://{self.name}"

    def files(self, folder: str) -> dict[str, bytes]:
        """Name and content of all that is in a folder of it."""
        driver = self.driver()
        found = driver.find(f"{self.name}/{folder}")
        return {path.rpartition("/")[2]: driver.cat_file(path) for path in found}

    def put(self, path: str, content: bytes) -> None:
        """Write one object."""
        self.driver().pipe_file(f"{self.name}/{path}", content)

    def driver(self) -> s3fs.S3FileSystem:
        """A driver of the test's own."""
        return s3fs.S3FileSystem(
            key=self.environment["AWS_ACCESS_KEY_ID"],
            secret=self.environment["AWS_SECRET_ACCESS_KEY"],
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            use_listings_cache=False,
            skip_instance_cache=True,
        )


@contextmanager
def start_bucket() -> Iterator[Bucket]:
    """A server with one empty bucket, until the block ends."""
    port = free_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "planted-secret-of-the-bucket",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = Popen(command, stdout=DEVNULL, stderr=DEVNULL, env=os.environ | environment)
    try:
        await_condition(lambda: _answers(port), "the S3 server answers")
        bucket = Bucket(f"nightly-{next(_NUMBERS)}", environment, server)
        bucket.driver().mkdir(bucket.name)
        yield bucket
    finally:
        server.kill()
        server.wait(10)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
