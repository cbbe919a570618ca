"""What the pages of this repository type is what the command line takes."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import click
import pytest

from mmearth_infer.cli.main import SUMMARIES, cli
from mmearth_infer.errors import MissingExtraError
from tests.helpers.markdown import blocks, typed

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *(
        page
        for folder in ("training", "export")
        for page in ROOT.glob(f"{folder}/**/*.md")
    ),
]
SHELLS = {"bash", "console", "sh"}
OURS = ("-m", "mmearth_infer.cli")
"""How `torchrun` starts a command of ours."""


def after_program(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return what is typed after `mmearth`; nothing for other programs."""
    for at, pair in enumerate(pairwise(words)):
        if pair == OURS:
            return words[at + 2 :]
    return words[1:] if words[:1] == ("mmearth",) else ()


def shown(page: Path) -> list[tuple[str, ...]]:
    """Return the commands of the blocks of a page."""
    lines = [line for b in blocks(page) if b.kind in SHELLS for line in typed(b)]
    return [args for line in lines if (args := after_program(line.words))]


def mentioned(page: Path) -> list[tuple[str, ...]]:
    """Return the commands between backticks in the text of a page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`mmearth\s+([^`]+)`", text)
    return [tuple(shlex.split(span)) for span in spans]


def command_of(args: list[str]) -> tuple[click.Command, click.Context]:
    """Return the command that the first words name, and take them away."""
    command: click.Command = cli
    context = click.Context(cli, info_name="mmearth")
    while isinstance(command, click.Group) and args and not args[0].startswith("-"):
        name = args.pop(0)
        try:
            found = command.get_command(context, name)
        except MissingExtraError as error:
            pytest.skip(str(error))
        assert found, f"there is no command `{name}`"
        command, context = found, click.Context(found, context, info_name=name)
    return command, context


def parse(words: tuple[str, ...]) -> None:
    """Parse a whole command as click does, without the files it names."""
    args = list(words)
    command, context = command_of(args)
    if {"-h", "--help", "--list"} & set(args):
        return
    given, left, _ = command.make_parser(context).parse_args(args)
    assert not left
    for parameter in command.params:
        value = given.get(parameter.name or "")
        if parameter.required:
            assert value, f"{words}: {parameter.name} is missing"
        if value is not None and not isinstance(parameter.type, click.Path):
            parameter.type_cast_value(context, value)


COMMANDS = {" ".join(words): words for page in PAGES for words in shown(page)}
MENTIONS = {" ".join(words): words for page in PAGES for words in mentioned(page)}


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_a_block_is_typed_right(line: str) -> None:
    parse(COMMANDS[line])


@pytest.mark.parametrize("line", MENTIONS)
def test_a_command_of_a_sentence_exists_with_its_flags(line: str) -> None:
    """Sentences name a command by its first words, some of its flags, or both."""
    args = [word for word in MENTIONS[line] if "|" not in word]
    if args[0] not in SUMMARIES:
        assert args[0].isupper() or args[0] == "--help", line
        return
    command, context = command_of(args)
    known = {flag for option in command.get_params(context) for flag in option.opts}
    assert {word for word in args if re.match("--?[a-z]", word)} <= known


def test_a_wrong_command_is_noticed() -> None:
    """The parser above refuses what click refuses."""
    parse(("view", "emb.zarr", "-o", "pca.png", "--max-px", "100"))
    for wrong in (
        ("view", "emb.zarr", "-o", "pca.png", "--max-px", "some"),
        ("view", "emb.zarr", "-o", "pca.png", "--size", "100"),
        ("view", "emb.zarr", "more.zarr", "-o", "pca.png"),
        ("view", "emb.zarr"),
        ("look", "emb.zarr"),
    ):
        with pytest.raises((click.UsageError, AssertionError)):
            parse(wrong)


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 50
    assert len(MENTIONS) > 50
