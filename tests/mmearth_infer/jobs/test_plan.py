"""Plans read no pixels, and open few files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mmearth_infer.errors import JobError
from mmearth_infer.jobs import plan
from mmearth_infer.jobs.job_file import read_job
from mmearth_infer.jobs.plan import SAMPLE, plan_job
from mmearth_infer.run.config import EmbedConfig
from mmearth_infer.run.embed import embed
from tests.helpers.scenes import random_dn, write_scene

if TYPE_CHECKING:
    from pathlib import Path

    from mmearth_infer.jobs.plan import JobPlan

MANY = 10_000


def planned(
    folder: Path,
    model: Path,
    rows: list[str],
    *,
    rate: float | None = None,
    price: float | None = None,
    settings: str = "",
) -> JobPlan:
    (folder / "l.csv").write_text("\n".join(["scene,name,height_px,width_px", *rows]))
    path = folder / "job.toml"
    path.write_text(
        f'model = "{model}"\n[scenes]\nlist = "l.csv"\n[outputs]\nfolder = "out"\n'
        f"[settings]\nwindow_px = 64\nhalo_px = 16\n{settings}"
    )
    job = read_job(path)
    return plan_job(job, job.scenes, workers=2, rate=rate, price_per_hour=price)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return what is opened, as it is."""
    seen: list[object] = []
    really = plan.open_sources

    def watched(scenes, **more):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN003, ANN202
        seen.append(scenes)
        return really(scenes, **more)

    monkeypatch.setattr(plan, "open_sources", watched)
    return seen


def test_stated_sizes_open_nothing(
    tmp_path: Path, echo_model: Path, opened: list[object]
) -> None:
    """Time and cost follow from the rate of a worker."""
    rows = [f"x.tif,n{n},1000,2000" for n in range(MANY)]
    found = planned(tmp_path, echo_model, rows, rate=10.0, price=3.0)
    assert not opened
    assert (found.sizes_stated, found.sizes_opened, found.sizes_assumed) == (MANY, 0, 0)
    assert found.megapixels == 20_000
    assert found.read_bytes == 20_000e6 * 12 * 2
    assert found.write_bytes == MANY * 63 * 125 * 12 * 4
    assert found.hours == pytest.approx(2000 / 3600 / 2)
    assert found.cost == pytest.approx(2000 / 3600 * 3)


def test_other_sizes_come_from_a_sample(
    tmp_path: Path, echo_model: Path, opened: list[object]
) -> None:
    write_scene(tmp_path / "a.tif", random_dn(height=100, width=80))
    found = planned(tmp_path, echo_model, [f"a.tif,n{n},," for n in range(MANY)])
    assert len(opened) == found.sizes_opened == SAMPLE
    assert found.sizes_assumed == MANY - SAMPLE
    assert found.megapixels == pytest.approx(MANY * 8000 / 1e6)
    assert (found.hours, found.cost) == (None, None)


def test_a_plan_has_the_windows_of_the_run(tmp_path: Path, echo_model: Path) -> None:
    """Also where a part of each scene is asked for: then stated sizes say nothing."""
    scene = write_scene(tmp_path / "a.tif", random_dn(height=200, width=160))
    found = planned(tmp_path, echo_model, ["a.tif,,200,160"])
    report = embed(
        EmbedConfig(
            scene=str(scene),
            out=tmp_path / "s.zarr",
            model=echo_model,
            window_px=64,
            halo_px=16,
        )
    )
    assert found.windows == report.tiles
    assert found.write_bytes == report.cells * report.channels * 4
    box = "bbox = [600000.0, 5299000.0, 600800.0, 5300000.0]\n"
    part = planned(tmp_path, echo_model, ["a.tif,,200,160"], settings=box)
    assert (part.sizes_stated, part.sizes_opened) == (0, 1)
    assert part.megapixels < found.megapixels


def test_scenes_that_cannot_be_opened(tmp_path: Path, echo_model: Path) -> None:
    """They are named; where they stand for others, there is no plan."""
    write_scene(tmp_path / "a.tif", random_dn(height=100, width=80))
    found = planned(tmp_path, echo_model, ["a.tif,,,", "none.tif,,,"])
    (said,) = found.unreadable
    assert said.startswith("none: there is no file")
    assert found.megapixels == pytest.approx(0.008)
    with pytest.raises(JobError, match=f"none of {SAMPLE} scenes can be read"):
        planned(tmp_path, echo_model, [f"none.tif,n{n},," for n in range(100)])
