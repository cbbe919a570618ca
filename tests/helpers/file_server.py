"""A web server on this machine with one file, which can be as bad as real ones."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class FileServer:
    """What it serves, how, and what it was asked for."""

    content: bytes
    """The file."""

    address: str = ""
    """Where the file is."""

    tag: str | None = '"one"'
    """Its ETag; None for neither ETag nor date."""

    ranges: bool = True
    """Whether parts can be asked for."""

    states_length: bool = True
    """Whether it says how long the file is."""

    breaks_after: list[int] = field(default_factory=list)
    """Bytes of an answer after which the connection breaks, one an answer."""

    answers: list[int] = field(default_factory=list)
    """Errors that it answers first."""

    moved_to: str | None = None
    """Where it sends those who ask."""

    asked: list[str | None] = field(default_factory=list)
    """The ranges that were asked for."""


@contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    """Serve a file."""
    state = FileServer(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(self, state)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.address = f"http://127.0.0.1:{server.server_port}/checkpoint-199.pth"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(handler: BaseHTTPRequestHandler, state: FileServer) -> None:
    """Answer one request."""
    wanted = handler.headers.get("Range")
    state.asked.append(wanted)
    if state.answers:
        handler.send_error(state.answers.pop(0))
        return
    if state.moved_to:
        handler.send_response(HTTPStatus.FOUND)
        handler.send_header("Location", state.moved_to)
        handler.end_headers()
        return
    same = handler.headers.get("If-Range") in {None, state.tag}
    said = re.match(r"bytes=(\d+)-", wanted or "") if state.ranges and same else None
    first, total = int(said[1]) if said else 0, len(state.content)
    if said and first >= total:
        handler.send_error(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
        return
    handler.send_response(HTTPStatus.PARTIAL_CONTENT if said else HTTPStatus.OK)
    if said:
        handler.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
    if state.tag:
        handler.send_header("ETag", state.tag)
    if state.states_length:
        handler.send_header("Content-Length", str(total - first))
    handler.end_headers()
    end = first + state.breaks_after.pop(0) if state.breaks_after else total
    handler.wfile.write(state.content[first:end])
