"""The wheel is small, and everything is in it that the packages need."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "mmearth_infer": ROOT / "mmearth_infer",
    "mmearth_training": ROOT / "training" / "mmearth_training",
    "mmearth_export": ROOT / "export" / "mmearth_export",
}
MOST_BYTES = 12 * 10**6


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of what is here."""
    pytest.importorskip("hatchling", reason="the build backend is not installed")
    out = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return built


def test_it_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size <= MOST_BYTES


def test_it_holds_every_file_of_the_packages(wheel: Path) -> None:
    """The model in the box and recipes among them."""
    expected = {
        f"{name}/{path.relative_to(folder).as_posix()}"
        for name, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    assert {"mmearth_infer/models/builtin.onnx"} <= expected
    assert any(name.endswith(".toml") for name in expected)
    assert expected <= held
    assert not [name for name in held if name.startswith(("tests/", "docs/"))]
