"""Places in object stores, by obstore: S3, Google Cloud Storage, Azure; HTTP to read.

Credentials are found by obstore, in the environment or from the machine's role, and
nowhere else. An object is there as a whole once it was put, and not before.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import AzureStore, GCSStore, HTTPStore, S3Store
from zarr.storage import ObjectStore

from mmearth_infer.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager
    from typing import Any, Literal

    from obstore import PutMode, UpdateVersion
    from obstore.store import RetryConfig
    from zarr.abc.store import Store

    from mmearth_infer.write.address import Address

    Service = S3Store | GCSStore | AzureStore | HTTPStore

RETRY: Final[RetryConfig] = {"max_retries": 10, "retry_timeout": timedelta(minutes=4)}
"""How often a request is sent again, 0.1 s to 15 s apart, and for how long at most."""

TIMEOUT: Final = "100 seconds"
"""How long one request may take: ten chunks at a time, over a line of 10 Mbit/s."""

CREDENTIALS: Final = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY",
}
"""Variables that say who asks, and whom, where it is not the machine's role."""

_SERVICES: Final[dict[str, type[S3Store | GCSStore | AzureStore]]] = {
    "s3": S3Store,
    "gs": GCSStore,
    "az": AzureStore,
}

_MESSAGE: Final = re.compile(r"<Message>(.*?)</Message>", re.DOTALL)

_NO_BUCKET: Final = "NoSuchBucket|ContainerNotFound"

_TROUBLES: Final = (
    (_NO_BUCKET, "there is no `{bucket}`", "make it first"),
    ("MissingAccount|169\\.254\\.169\\.254|metadata\\.google|Error performing token",
     "no credentials were found", "set {credentials}"),
    ("non-2xx status code: 40[013]|PermissionDenied|Unauthenticated",
     "it is refused", "check {credentials}"),
    ("non-2xx status code: 501|conditional put is disabled",
     "it knows no conditional requests", "write to a disk and copy the store"),
    ("BadScheme", "its endpoint is http", "AWS_ALLOW_HTTP=true allows that"),
    ("error sending request|Connect|Timeout",
     "it cannot be reached", "check the network and {credentials}"),
)  # fmt: skip
"""What an error's text holds, what it means, and what helps; the first has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An object as it was read."""

    content: bytes
    """What it holds."""

    version: UpdateVersion
    """Tells it from another of its name."""


class Objects:
    """Everything below an address, as a folder is everything below a path."""

    def __init__(self, where: Address) -> None:
        """Find credentials; nothing is asked yet.

        Raises:
            StoreError: If they are missing.

        """
        self.where = where
        with troubles(where, "read"):
            self._service = _service(where)

    def store(self, group: str = "", *, read_only: bool = False) -> Store:
        """Return it, or a group in it, as zarr reads and writes it."""
        with troubles(self.where, "read" if read_only else "write"):
            service = _service(self.where.below(group))
        return ObjectStore(service, read_only=read_only)

    def read(self, name: str) -> bytes | None:
        """Return a small object; None if there is none."""
        found = self.get(name)
        return found.content if found else None

    def settle(self, names: Iterable[str]) -> None:
        """Do nothing: what was put is safe."""

    def tidy(self) -> None:
        """Do nothing: what was put in part is nowhere."""

    def reading(self) -> AbstractContextManager[None]:
        """Say that the service, not the store, is why it cannot be read."""
        return troubles(self.where, "read")

    def get(self, name: str) -> Found | None:
        """Return an object and its version; None if there is none.

        Raises:
            StoreError: If that cannot be told.

        """
        with troubles(self.where, "read"):
            try:
                found = obstore.get(self._service, name)
                return Found(content=bytes(found.bytes()), version=_version(found.meta))
            except FileNotFoundError as error:
                if re.search(_NO_BUCKET, str(error)):
                    raise _trouble(error, self.where, "read") from error
                return None

    def put(self, name: str, content: bytes) -> None:
        """Write an object, whatever was there.

        Raises:
            StoreError: If it is not taken.

        """
        with troubles(self.where, "write"):
            obstore.put(self._service, name, content)

    def exchange(
        self, name: str, content: bytes, *, before: UpdateVersion | None
    ) -> UpdateVersion | None:
        """Write an object in place of a version of it, and return the new one.

        Args:
            name: Its name.
            content: What it holds.
            before: What was there; None for nothing.

        Returns:
            None if something else is there.

        Raises:
            StoreError: If it is not taken.

        """
        mode: PutMode = "create" if before is None else before
        with troubles(self.where, "write"):
            try:
                return _version(obstore.put(self._service, name, content, mode=mode))
            except (AlreadyExistsError, PreconditionError):
                found = self.get(name)  # ours, where only the answer was lost
                return found.version if found and found.content == content else None

    def remove(self, name: str) -> None:
        """Remove an object, if it is there.

        Raises:
            StoreError: If that cannot be done.

        """
        with troubles(self.where, "write"):
            self._delete([name])

    def is_empty(self) -> bool:
        """Tell whether nothing is there.

        Raises:
            StoreError: If that cannot be told.

        """
        with troubles(self.where, "read"):
            return not any(obstore.list(self._service))

    def clear(self, *, last: str) -> None:
        """Remove everything that is there, and after it what says whose it is.

        Raises:
            StoreError: If that cannot be done.

        """
        with troubles(self.where, "write"):
            names = [
                found["path"] for some in obstore.list(self._service) for found in some
            ]
            self._delete([name for name in names if name != last])
            self._delete([last])

    def _delete(self, names: list[str]) -> None:
        """Remove objects; some services mind if they are not there."""
        try:
            obstore.delete(self._service, names)
        except FileNotFoundError as error:
            if re.search(_NO_BUCKET, str(error)):
                raise


def _service(at: Address) -> Service:
    """Return what is below an address, as obstore knows it."""
    if at.scheme in {"http", "https"}:
        return HTTPStore.from_url(
            str(at),
            client_options={"timeout": TIMEOUT, "allow_http": True},
            retry_config=RETRY,
        )
    config = {"timeout": TIMEOUT}  # as an option of the client it hides those set
    account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    if at.scheme == "az" and account:
        config["account_name"] = account  # obstore 0.12 cannot show a store without
    asked: dict[str, Any] = {
        "prefix": at.key or None,
        "config": config,
        "retry_config": RETRY,
    }
    return _SERVICES[at.scheme](at.bucket, **asked)


def _version(said: obstore.ObjectMeta | obstore.PutResult) -> UpdateVersion:
    """Return the version that an answer names."""
    version: UpdateVersion = {}
    if said["e_tag"] is not None:
        version["e_tag"] = said["e_tag"]
    if said["version"] is not None:
        version["version"] = said["version"]
    return version


@contextmanager
def troubles(where: Address, doing: Literal["read", "write"]) -> Iterator[None]:
    """Say what the service refused, and what helps.

    Raises:
        StoreError: If it did.

    """
    on_writing = () if doing == "read" else (FileNotFoundError, NotImplementedError)
    try:
        yield
    except (BaseError, *on_writing) as error:
        raise _trouble(error, where, doing) from error


def _trouble(
    error: Exception, where: Address, doing: Literal["read", "write"]
) -> StoreError:
    """Return what is said instead of an error of obstore."""
    what, hint = explained(str(error), where)
    return StoreError(f"cannot {doing} `{where}`: {what}", hint=hint)


def explained(said: str, where: Address) -> tuple[str, str]:
    """Return what an error of obstore means, and what helps."""
    known = {
        "bucket": f"{where.scheme}://{where.bucket}",
        "credentials": CREDENTIALS.get(where.scheme, "the address"),
    }
    for holds, means, helps in _TROUBLES:
        if re.search(holds, said):
            what, hint = means.format(**known), helps.format(**known)
            break
    else:
        what, hint = said.partition("\n")[0], "try again with --resume"
    message = _MESSAGE.search(said)
    return (f"{what}, {message[1].rstrip('.').lower()}" if message else what), hint
