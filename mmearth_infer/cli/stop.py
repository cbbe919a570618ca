"""Ctrl-C, and the polite end that clusters ask for: at once, with nothing lost.

What is written is safe at any moment, so that nothing has to be brought to an end:
the process says how to go on, and is gone.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mmearth_infer.write.address import locate
from mmearth_infer.write.ledger import ledger_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mmearth_infer.write.address import Where

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
"""What is taken as the wish to stop."""

BY_SIGNAL: Final = 128
"""What shells add to a signal's number to make an exit code."""


@contextmanager
def stopping(out: str | Where, *, tidy: Callable[[], None]) -> Iterator[None]:
    """Stop when asked to, and say how to go on.

    Args:
        out: What is being written.
        tidy: Leaves the terminal as it was.

    """
    with stopping_with(lambda: farewell(locate(out), sys.argv), tidy=tidy):
        yield


@contextmanager
def stopping_with(
    say: Callable[[], str], *, tidy: Callable[[], None]
) -> Iterator[None]:
    """Stop when asked to.

    Args:
        say: Returns what is said then.
        tidy: Leaves the terminal as it was.

    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears signals
        return

    def stop(number: int, _frame: object) -> None:
        tidy()
        click.echo(say(), err=True)
        sys.stderr.flush()
        os._exit(BY_SIGNAL + number)

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def farewell(out: Where, argv: list[str]) -> str:
    """Return what is said at the end: what is kept, and the command that goes on.

    There is no time to ask behind an address whether anything is kept.
    """
    if isinstance(out, Path) and not ledger_path(out.resolve()).exists():
        return "stopped: nothing was written yet"
    flags = [] if "--resume" in argv else ["--resume"]
    command = shlex.join([Path(argv[0]).name, *argv[1:], *flags])
    return f"stopped: what is written is kept\nhint: {command}"
