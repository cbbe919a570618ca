"""Blocks of code in Markdown, and the commands that are typed in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FENCED = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code."""

    kind: str
    """The language it names; empty for none."""

    text: str
    """Its lines."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A command that a block shows."""

    words: tuple[str, ...]
    """Program and arguments, as a shell would split them."""

    output: str
    """What stands below it."""


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    text = page.read_text()
    found = [Block(*match.groups()) for match in _FENCED.finditer(text)]
    assert 2 * len(found) == len(re.findall("^```", text, re.MULTILINE)), page
    return found


def typed(block: Block) -> Iterator[Typed]:
    """Yield the commands of a block of a shell, `&&` apart.

    In a `console` they follow `$ `, and other lines are their output.
    """
    lines = block.text.replace("\\\n", " ")
    if block.kind != "console":
        lines = re.sub(r"^(?=.)", "$ ", lines, flags=re.MULTILINE)
    for shown in re.split(r"^\$ ", lines, flags=re.MULTILINE)[1:]:
        line, _, output = shown.partition("\n")
        *first, last = line.split(" && ")
        for command in first:
            yield Typed(tuple(shlex.split(command, comments=True)), "")
        yield Typed(tuple(shlex.split(last, comments=True)), output)
