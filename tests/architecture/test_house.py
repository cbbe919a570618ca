"""What holds the house together: import budget, links, documented names."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from itertools import pairwise
from pathlib import Path

import pytest

import mmearth_infer
from mmearth_infer.cli.main import COMMANDS, EXTRAS, SUMMARIES
from tests.conftest import Ran

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for folder in ("mmearth_infer", "training", "export")
    for path in (ROOT / folder).rglob("*.py")
)
HEAVY = ("torch", "onnx", "onnxruntime", "rasterio", "zarr", "numpy", "rich")


def modules_after(program: str) -> set[str]:
    """Names of the modules that are loaded after a program, in a new process."""
    code = f"{program}\nimport sys; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "program",
    [
        "from mmearth_infer.cli import main; main.cli(['-h'], standalone_mode=False)",
        "import mmearth_infer",
    ],
)
def test_help_loads_nothing_heavy(program: str) -> None:
    assert not modules_after(program) & set(HEAVY)


def test_the_runtime_never_loads_torch_or_onnx() -> None:
    program = (
        "import mmearth_infer.cli.embed, mmearth_infer.cli.info\n"
        "from mmearth_infer.engine.model import BUILTIN_MODEL\n"
        "from mmearth_infer.engine.open import open_model\n"
        "open_model(BUILTIN_MODEL)"
    )
    loaded = modules_after(program)
    assert "onnxruntime" in loaded
    assert not loaded & {"torch", "onnx"}


@pytest.mark.parametrize("name", SUMMARIES)
def test_summaries_are_the_first_lines_of_the_help(
    name: str, mmearth: Callable[..., Ran]
) -> None:
    """`mmearth --help` lists them without importing the commands."""
    extra = EXTRAS.get(name, name)
    if extra in {"export", "train"}:
        pytest.importorskip("torch", reason=f"its help needs the {extra} extra")
    help_text = mmearth(name, "--help").stdout
    assert SUMMARIES[name] in help_text
    assert {entry.name for entry in entry_points(group=COMMANDS)} == set(SUMMARIES)


def test_a_missing_extra_is_named(
    mmearth: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] in {"mmearth_export", "torch"}:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    ran = mmearth("export", "x.pth", "-o", "x.onnx")
    assert ran.code == 1
    assert "`mmearth export` needs the `export` extra" in ran.stderr
    assert 'hint: pip install "mmearth-infer[export]"' in ran.stderr


def test_the_links_of_the_docs_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")]
    pages += ROOT.glob("*/README.md")
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_public_names_exist_and_are_documented() -> None:
    for name in mmearth_infer.__all__:
        assert getattr(mmearth_infer, name).__doc__
    with pytest.raises(AttributeError, match="`nonsense`"):
        mmearth_infer.nonsense  # noqa: B018


def fields_without_docstring(path: Path) -> Iterator[str]:
    """Yield the fields of dataclasses that no docstring follows."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ClassDef):
            continue
        if not any("dataclass" in ast.dump(mark) for mark in node.decorator_list):
            continue
        body = [*node.body, None]
        for statement, after in pairwise(body):
            if isinstance(statement, ast.AnnAssign) and not (
                isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            ):
                yield f"{path.name}: {node.name}.{ast.unparse(statement.target)}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_short_and_their_values_documented(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 320
    assert not list(fields_without_docstring(path))


MOST_BYTES = {".onnx": 8 * 2**20, ".safetensors": 8 * 2**20}
"""Largest files that are kept: the model in the box, and weights of small encoders."""


def test_no_large_file_and_no_path_of_a_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if not path.exists():
            continue
        assert path.stat().st_size <= MOST_BYTES.get(path.suffix, 100_000), name
        assert not re.search(rb"/(?:home|root|work)/", path.read_bytes()), name
