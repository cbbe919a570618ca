"""README: every block is run, or compared with what it shows."""

from __future__ import annotations

import contextlib
import io
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
from packaging.requirements import Requirement

import mmearth_infer
from tests.helpers.data import needs_golden
from tests.helpers.markdown import Typed, blocks, typed
from tests.helpers.scenes import write_scene
from tests.mmearth_infer.probe.fields import classes_hw, patches, write_labels
from tests.mmearth_infer.view.stores import CORNER

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Ran

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = blocks(ROOT / "README.md")
SHELL = [block for block in BLOCKS if block.kind in {"bash", "console"}]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())


def of_kind(kind: str) -> list[str]:
    return [block.text for block in BLOCKS if block.kind == kind]


def run(line: Typed, mmearth: Callable[..., Ran]) -> None:
    """Run a command of ours; the others are checked below."""
    program, *args = line.words
    if program == "mmearth":
        ran = mmearth(*args)
        assert ran.code == 0, (line.words, ran.stderr)
        assert line.output in {"", ran.stdout}


def test_every_kind_of_block_is_known() -> None:
    """A block of another kind needs a test first."""
    assert {block.kind for block in BLOCKS} == {"bash", "console", "python", "text", ""}


def test_it_stays_short() -> None:
    """Seven lines with commands of ours."""
    lines = "".join(block.text for block in SHELL).splitlines()
    assert sum("mmearth " in line for line in lines) == 7


def test_what_it_installs_can_be_installed() -> None:
    """Extras and files exist, here and in the text; `pytest` finds tests."""
    lines = [line.words for block in SHELL for line in typed(block)]
    inline = re.findall("`(pip install [^`]+)`", (ROOT / "README.md").read_text())
    lines += [tuple(line.split()) for line in inline]
    assert {words[0] for words in lines} == {"mmearth", "pip", "pytest"}
    installs = [words[2:] for words in lines if words[0] == "pip"]
    assert len(installs) >= 4
    extras = set(SETTINGS["project"]["optional-dependencies"])
    for *flags, wanted in installs:
        files = [flag for flag in flags if not flag.startswith("-")]
        assert all((ROOT / name).is_file() for name in files)
        assert set(flags) - set(files) <= {"-c", "-e"}
        assert Requirement(re.sub(r"^\.", "mmearth-infer", wanted)).extras <= extras
    (tests,) = SETTINGS["tool"]["pytest"]["ini_options"]["testpaths"]
    assert (ROOT / tests).is_dir()


@pytest.mark.usefixtures("builtin_model")
def test_the_first_command_and_the_lines_of_python(
    tmp_path: Path, mmearth: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store with a place on Earth and a picture; Python prints what is shown."""
    monkeypatch.chdir(tmp_path)
    for line in typed(SHELL[0]):
        run(line, mmearth)
    with rasterio.open("demo.png") as picture:
        assert picture.crs.to_epsg() == 32632
        assert picture.count == 4
    ((program,), (output,)) = of_kind("python"), of_kind("text")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "README.md", "exec"), {})  # noqa: S102
    assert printed.getvalue() == output


def write_inputs(folder: Path) -> None:
    """Write what the console works on: two scenes, fields, a published checkpoint."""
    from tests.helpers.golden import write_checkpoint  # noqa: PLC0415 -- needs torch

    class_HW = classes_hw().repeat(16, 0).repeat(16, 1)
    rng = np.random.default_rng(0)
    spectra = rng.integers(300, 4000, (12, 3))[:, class_HW]
    dn_CHW = (spectra * rng.uniform(0.9, 1.1, spectra.shape)).astype(np.uint16)
    write_scene(folder / "scene.tif", dn_CHW, transform=CORNER)
    write_scene(folder / "other.tif", dn_CHW[:, :320, :480], transform=CORNER)
    write_labels(folder / "fields.geojson", patches(), field="crop")
    write_checkpoint(folder / "checkpoint-199.pth")


@needs_golden
def test_the_console(
    tmp_path: Path, mmearth: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a published checkpoint to a map of another scene, line by line."""
    pytest.importorskip("torch", reason="exporting needs torch")
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path)
    for block in SHELL[2:]:
        for line in typed(block):
            run(line, mmearth)
    with rasterio.open("map.tif") as found:
        assert (found.height, found.width) == (20, 30)
        agree = found.read(1) == classes_hw()[:20, :30]
    assert agree.mean() > 0.6
    assert Path("map.gpkg").stat().st_size


def test_the_two_drawings() -> None:
    """The way of the data is one of packages, and the tree is the one that is here."""
    way, tree = of_kind("")
    scene, *stages, store = way.splitlines()[0].split(" ─► ")
    assert (scene, store) == ("scene", "store")
    package = Path(mmearth_infer.__file__).parent
    assert all((package / stage / "__init__.py").is_file() for stage in stages)
    assert len(stages) == 5
    for line in tree.splitlines():
        assert (ROOT / line.split()[0]).is_dir()
