"""What many tests share: the command line, and a model computed by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from mmearth_infer.cli.main import cli
from mmearth_infer.engine import model
from tests.helpers.models import UNTRAINED, write_echo_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.helpers.buckets import Server


@dataclass(frozen=True)
class Ran:
    """A command that was run."""

    code: int
    stdout: str
    stderr: str

    @property
    def report(self) -> dict[str, Any]:
        """The last line of stdout, as `--json` promises."""
        report: dict[str, Any] = json.loads(self.stdout.splitlines()[-1])
        return report


BUILTIN_MODEL = model.BUILTIN_MODEL
"""The model in the box."""


@pytest.fixture(scope="session", autouse=True)
def _untrained_by_default() -> Iterator[None]:
    """Run a small network where no model is named: tests take less time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "BUILTIN_MODEL", UNTRAINED)
        yield


@pytest.fixture
def builtin_model(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the model in the box where none is named, as users do; give its file."""
    monkeypatch.setattr(model, "BUILTIN_MODEL", BUILTIN_MODEL)
    return BUILTIN_MODEL


@pytest.fixture
def mmearth() -> Callable[..., Ran]:
    """Run `mmearth` with arguments, in this process."""

    def run(*args: object) -> Ran:
        result = CliRunner().invoke(cli, [str(arg) for arg in args])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture(scope="session")
def echo_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file that gives the mean of each cell's pixels."""
    return write_echo_model(tmp_path_factory.mktemp("model") / "echo.onnx")


@pytest.fixture(scope="session")
def _one_server() -> Iterator[Server]:
    """Serve a bucket, in another process."""
    from tests.helpers.buckets import serving  # noqa: PLC0415 -- few tests need it

    with serving() as server:
        yield server


@pytest.fixture
def server(_one_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """An object store with an empty bucket, which the environment leads to."""
    _one_server.clear()
    for name, value in _one_server.env.items():
        monkeypatch.setenv(name, value)
    return _one_server
