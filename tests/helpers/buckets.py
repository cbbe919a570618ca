"""An object store on this machine that speaks S3, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import obstore
from obstore.store import S3Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUCKET: Final = "bucket"

_SERVE: Final = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(*server.get_host_and_port(), flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Server:
    """A server with a bucket."""

    address: str
    """Where it listens."""

    @property
    def env(self) -> dict[str, str]:
        """What says to obstore where it is, and who asks."""
        return {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ALLOW_HTTP": "true",
        }

    def store(self, prefix: str | None = None) -> S3Store:
        """Return what is below a prefix."""
        config = {name.lower(): value for name, value in self.env.items()}
        return S3Store(BUCKET, prefix=prefix, config=config)  # type: ignore[arg-type]

    def names(self, prefix: str | None = None) -> list[str]:
        """Return the names of all objects below a prefix."""
        batches = obstore.list(self.store(prefix))
        return sorted(found["path"] for batch in batches for found in batch)

    def content(self, prefix: str) -> dict[str, bytes]:
        """Return every object below a prefix."""
        store = self.store(prefix)
        return {
            name: bytes(obstore.get(store, name).bytes()) for name in self.names(prefix)
        }

    def read(self, name: str) -> bytes:
        """Return an object; nothing if there is none."""
        try:
            return bytes(obstore.get(self.store(), name).bytes())
        except FileNotFoundError:
            return b""

    def clear(self) -> None:
        """Remove all objects."""
        obstore.delete(self.store(), self.names())


@contextmanager
def serving(**env: str) -> Iterator[Server]:
    """Serve one empty bucket; the environment tells the server how."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **env},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        host, port = process.stdout.readline().split()
        server = Server(f"http://{host}:{port}")
        _make_bucket(server)
        try:
            yield server
        finally:
            process.stdin.close()  # which ends it
            process.wait(30)


def _make_bucket(server: Server) -> None:
    """Make the bucket, which obstore has no word for."""
    import boto3  # noqa: PLC0415 -- slow to import, and moto brings it

    boto3.client(
        "s3",
        endpoint_url=server.address,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",  # noqa: S106 -- it guards nothing
    ).create_bucket(Bucket=BUCKET)


def files(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, as `Server.content` does."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
