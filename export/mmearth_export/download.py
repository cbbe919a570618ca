"""A large file from the web: whole, not larger than it may be, gone on with."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage, HTTPResponse
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from mmearth_infer.disk import disk_errors, file_beside, to_disk
from mmearth_infer.errors import ModelError
from mmearth_infer.read.fetch import PAUSES_S, TIMEOUT_S
from mmearth_infer.read.raster import shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PIECE_BYTES: Final = 2**20
"""What is read at once."""

_STEP: Final = "download, MB"
_LATER: Final = frozenset({408, 429, 500, 502, 503, 504})
_OFFLINE: Final = "check the connection; --url takes the address of a mirror"
_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")


class _Interrupted(Exception):  # noqa: N818 -- it is no error yet
    """The server stopped in the middle, or is busy."""


def check_address(address: str, *, from_afar: bool = False) -> None:
    """Refuse addresses where others can change on the way what comes.

    Args:
        address: The address.
        from_afar: Whether another machine named it.

    Raises:
        ModelError: If it is neither `https` nor `http` on this machine.

    """
    parts = urlsplit(address)
    host = parts.hostname or ""
    near = host == "localhost"
    with suppress(ValueError):
        near = near or ip_address(host).is_loopback
    near = near and not from_afar
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and near)):
        raise ModelError(
            f"`{shown(address)}` is no https address", hint="models come over https"
        )


def download(
    address: str, part: Path, *, most_bytes: int, tell: Callable[[str, int, int], None]
) -> None:
    """Bring a file to this machine, going on with what an earlier try left.

    What is there already is gone on with only if the server says that its file is the
    same: by ETag or by date, which are kept beside `part`. Busy servers and broken
    connections are tried again.

    Args:
        address: Where it is.
        part: Where it goes; complete on the disk when this returns.
        most_bytes: A file that is larger is refused, whatever the server says of it.
        tell: Is told step, megabytes done and to do.

    Raises:
        ModelError: If it cannot be had, or is too large.
        StoreError: If the disk does not take it.

    """
    check_address(address)
    for pause_s in (*PAUSES_S, None):
        try:
            with disk_errors(part):
                _try(address, part, most_bytes, tell)
                to_disk(part)
        except _Interrupted as error:
            if pause_s is None:
                raise ModelError(
                    f"`{shown(address)}` stopped after {_size(part)} bytes: {error}",
                    hint="the same command goes on from there",
                ) from error
            time.sleep(pause_s)
        else:
            validator_of(part).unlink(missing_ok=True)
            return


def validator_of(part: Path) -> Path:
    """Return where is kept which version of a file `part` is a part of."""
    return part.with_name(f"{part.name}.json")


def _try(
    address: str, part: Path, most_bytes: int, tell: Callable[[str, int, int], None]
) -> None:
    """Ask once, and write what comes."""
    headers = {"Accept-Encoding": "identity"}
    validator = _read_validator(part, address)
    if validator and _size(part):
        headers |= {"Range": f"bytes={_size(part)}-", "If-Range": validator}
    try:
        with _open(address, headers) as answer:
            begin = _begin(answer, part)
            if begin == 0:
                _write_validator(part, address, answer)
            _write(answer, part, begin, most_bytes, tell)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)  # it holds more than the file has
            raise _Interrupted("it has fewer bytes now") from error
        if error.code in _LATER:
            raise _Interrupted(f"{error.code} {error.reason}") from error
        raise ModelError(
            f"`{shown(address)}` answers {error.code} {error.reason}",
            hint="--url takes the address of a mirror",
        ) from error
    except urllib.error.URLError as error:
        raise ModelError(
            f"cannot reach `{shown(address)}`: {_reason(error)}", hint=_OFFLINE
        ) from error


def _write(
    answer: HTTPResponse,
    part: Path,
    begin: int,
    most_bytes: int,
    tell: Callable[[str, int, int], None],
) -> None:
    """Append an answer to what is there, and see that it is whole."""
    stated = answer.headers.get("Content-Length", "")
    due = begin + int(stated) if stated.isdecimal() else None
    _check_size(due or 0, most_bytes, part)
    with part.open("r+b" if begin else "wb") as file:
        file.seek(begin)
        file.truncate()
        done = begin
        while piece := _read(answer):
            done += len(piece)
            _check_size(done, most_bytes, part)
            file.write(piece)
            tell(_STEP, done >> 20, (due or most_bytes) >> 20)
    if due is not None and done < due:
        raise _Interrupted("the connection broke")


def _read(answer: HTTPResponse) -> bytes:
    """Return the next piece; none at the end."""
    try:
        return answer.read(PIECE_BYTES)
    except (OSError, HTTPException) as error:
        raise _Interrupted("the connection broke") from error


def _check_size(size: int, most_bytes: int, part: Path) -> None:
    """Refuse what cannot be the file that was asked for, and free its room."""
    if size > most_bytes:
        part.unlink(missing_ok=True)
        raise ModelError(
            f"the file has {size} bytes or more, where {most_bytes} are the most",
            hint="check that the address is that of the checkpoint",
        )


def _begin(answer: HTTPResponse, part: Path) -> int:
    """Return at which byte an answer begins."""
    if answer.status != HTTPStatus.PARTIAL_CONTENT:
        return 0
    said = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if said is None or int(said[1]) != _size(part):
        part.unlink(missing_ok=True)
        raise _Interrupted("it gives another part than was asked for")
    return int(said[1])


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to another address that is as good."""

    def redirect_request(  # noqa: PLR0913, PLR0917 -- urllib's signature
        self,
        req: urllib.request.Request,
        fp: Any,  # noqa: ANN401 -- likewise
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Refuse to leave https."""
        check_address(newurl, from_afar=req.type == "https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(address: str, headers: dict[str, str]) -> HTTPResponse:
    """Ask for a file."""
    request = urllib.request.Request(address, headers=headers)  # noqa: S310 -- checked
    opener = urllib.request.build_opener(_Redirects)
    try:
        answer: HTTPResponse = opener.open(request, timeout=TIMEOUT_S)
    except (HTTPException, ConnectionError, TimeoutError) as error:
        raise _Interrupted(str(error) or "the connection broke") from error
    return answer


def _size(part: Path) -> int:
    """Return how many bytes are there."""
    return part.stat().st_size if part.exists() else 0


def _read_validator(part: Path, address: str) -> str | None:
    """Return which version of the file is there in part; None where nobody knows."""
    try:
        said = json.loads(validator_of(part).read_text())
        return str(said["validator"]) if said["address"] == address else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _write_validator(part: Path, address: str, answer: HTTPResponse) -> None:
    """Note which version of the file is coming; a weak ETag does not say."""
    tag = answer.headers.get("ETag", "")
    found = tag if tag.startswith('"') else answer.headers.get("Last-Modified")
    place = validator_of(part)
    place.unlink(missing_ok=True)
    if found:
        with file_beside(place) as aside:
            aside.write_text(json.dumps({"address": address, "validator": found}))


def _reason(error: urllib.error.URLError) -> str:
    """Return why a server could not be reached."""
    return getattr(error.reason, "strerror", None) or str(error.reason)
