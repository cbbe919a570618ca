"""The site of the docs: made without a warning, and nothing public is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

import mmearth_infer
from mmearth_infer.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).resolve().parents[2] / "docs"

for needed in ("sphinx", "torch"):
    pytest.importorskip(needed, reason=f"the site needs the dev extra ({needed})")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, made as its guide says, with warnings as errors."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q"]
    command += ["-d", f"{out}/.doctrees", DOCS, out]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return out


def leaves(
    command: click.Command, *names: str
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with what is typed for it."""
    yield names, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child
            yield from leaves(child, *names, name)


def test_every_command_and_flag_is_on_the_site(site: Path) -> None:
    page = (site / "reference" / "cli.html").read_text()
    found = list(leaves(cli, "mmearth"))
    assert len(found) > 15
    for names, command in found:
        assert f'id="{"-".join(names)}"' in page
        for parameter in command.params:
            for flag in parameter.opts if isinstance(parameter, click.Option) else ():
                anchor = f'id="cmdoption-{"-".join(names)}-{flag.lstrip("-")}"'
                assert anchor in page, (names, flag)


@pytest.mark.parametrize("name", mmearth_infer.__all__)
def test_every_public_name_is_on_the_site(name: str, site: Path) -> None:
    page = (site / "reference" / "python.html").read_text()
    assert f'id="mmearth_infer.{name}"' in page


def test_every_page_of_the_docs_is_on_the_site(site: Path) -> None:
    """Links between pages lead to headings there, and README is the first page."""
    for page in DOCS.rglob("*.md"):
        assert (site / page.relative_to(DOCS)).with_suffix(".html").exists()
    assert 'href="guides/embed.html"' in (site / "index.html").read_text()
