"""The guide to Python: every block runs, and prints what stands below it."""

from __future__ import annotations

import re
import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affine import Affine

from mmearth_infer.contract.bands import L2A_BANDS
from mmearth_infer.read.demo import demo_dn
from tests.helpers.models import UNTRAINED
from tests.helpers.scenes import write_scene

if TYPE_CHECKING:
    import pytest

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "python.md"
BLOCK = re.compile(r"```python\n(.*?)```(?:\s*```text\n(.*?)```)?", re.DOTALL)


def test_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From top to bottom, in the folder that it describes."""
    monkeypatch.chdir(tmp_path)
    write_scene(
        Path("scene.tif"),
        demo_dn()[:, 100:420, 600:920],
        bands=L2A_BANDS,
        crs="EPSG:32632",
        transform=Affine(10, 0, 500_000, 0, -10, 5_400_000),
    )
    shutil.copy(UNTRAINED, "encoder.onnx")
    blocks = BLOCK.findall(GUIDE.read_text())
    assert len(blocks) == GUIDE.read_text().count("```python")
    names: dict[str, Any] = {}
    for number, (program, expected) in enumerate(blocks, start=1):
        printed = StringIO()
        with redirect_stdout(printed):
            exec(compile(program, f"block {number}", "exec"), names)  # noqa: S102
        assert printed.getvalue() == expected, program
