"""Job files: what they may say, and what is refused."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from mmearth_infer.errors import MMEarthError
from mmearth_infer.jobs.job_file import (
    CONFIGS,
    NOT_SETTINGS,
    Task,
    read_job,
    settings_table,
)
from mmearth_infer.read.options import SceneOptions
from mmearth_infer.run.config import EmbedConfig

SCENES = '[scenes]\nlist = "l.csv"\n'
OUTPUTS = '[outputs]\nfolder = "out"\n'


def write(folder: Path, text: str) -> Path:
    (folder / "l.csv").write_text("scene\na.tif\n")
    path = folder / "job.toml"
    path.write_text(text)
    return path


def test_a_job_is_the_run_of_each_scene(tmp_path: Path) -> None:
    """Paths are seen from the job file; settings are the fields of the run."""
    settings = (
        '[settings]\nwindow_px = 64\nstages = [4]\nbands = ["B02", "red"]\n'
        'aoi = "area.geojson"\n'
    )
    job = read_job(write(tmp_path, 'model = "m.onnx"\n' + SCENES + OUTPUTS + settings))
    (scene,) = job.scenes
    assert job.config_of(scene) == EmbedConfig(
        scene=str(tmp_path / "a.tif"),
        out=tmp_path / "out" / "a.zarr",
        model=tmp_path / "m.onnx",
        window_px=64,
        stages=(4,),
        resume=True,
        options=SceneOptions(bands=("B2", "B4"), aoi=str(tmp_path / "area.geojson")),
    )
    assert (job.run.workers, job.run.tries, job.name) == (1, 3, "job")


def test_outputs_behind_an_address(tmp_path: Path) -> None:
    outputs = '[outputs]\nfolder = "s3://bucket/stores"\n'
    job = read_job(write(tmp_path, SCENES + outputs))
    assert str(job.out_of(job.scenes[0])) == "s3://bucket/stores/a.zarr"


@pytest.mark.parametrize("task", CONFIGS)
def test_settings_are_the_fields_of_a_run(task: Task) -> None:
    known = {one.name for kind in (SceneOptions, CONFIGS[task]) for one in fields(kind)}
    assert set(settings_table(task).__struct_fields__) == known - NOT_SETTINGS


@pytest.mark.parametrize("task", CONFIGS)
def test_the_guide_lists_every_setting(task: Task) -> None:
    guide = Path(__file__).parents[3] / "docs" / "guides" / "batch.md"
    for name in settings_table(task).__struct_fields__:
        assert f"`{name}`" in guide.read_text(), name


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("what is this", "is no job file", "guides/batch.md"),
        (OUTPUTS, "missing required field `scenes`", "guides/batch.md"),
        (
            "[settings]\nwindov_px = 3\n" + SCENES + OUTPUTS,
            r"\[settings\] has no key `windov_px`",
            "did you mean `window_px`?",
        ),
        (
            "[settings]\nresume = true\n" + SCENES + OUTPUTS,
            r"\[settings\] has no key `resume`",
            "",
        ),
        (
            "[sceness]\n" + SCENES + OUTPUTS,
            "the job file has no key `sceness`",
            "did you mean `scenes`?",
        ),
        ("[run]\nparts = 0\n" + SCENES + OUTPUTS, "`int` >= 1", "guides/batch.md"),
        (
            SCENES + '[outputs]\nfolder = "o"\nmosaic = "utm"\n',
            r"Expected `bool`, got `str` - at `\$.outputs.mosaic`",
            "guides/batch.md",
        ),
        (
            SCENES + '[outputs]\nfolder = "s3://bucket/o"\nmosaic = true\n',
            "mosaic is for outputs on a disk",
            "",
        ),
        (
            'task = "segment"\nmodel = "m.onnx"\n'
            + SCENES
            + OUTPUTS
            + "mosaic = true\n",
            "mosaic are for stores of embeddings",
            "apply a probe",
        ),
        (
            SCENES + OUTPUTS + '[cluster.slurm]\nqueue = "a\\nb"\n',
            r"at `\$.cluster.slurm.queue`",
            "guides/batch.md",
        ),
        (
            SCENES + OUTPUTS + "[steps]\npreviews = true\n",
            r"\[steps\] has no key `previews`",
            "did you mean `preview`?",
        ),
        ("[run]\nworkers = 0\n" + SCENES + OUTPUTS, "`int` >= 1", "guides/batch.md"),
        (
            '[settings]\ndtype = "int9"\n' + SCENES + OUTPUTS,
            "'int9'",
            "guides/batch.md",
        ),
        (
            SCENES + OUTPUTS + 'format = "tif"\n',
            "not for embeddings",
            "mmearth cog",
        ),
        ('task = "segment"\n' + SCENES + OUTPUTS, "names no model", "mmearth segment"),
        (
            'task = "segment"\nmodel = "m.onnx"\n' + SCENES + OUTPUTS + "stac = true",
            "not for maps",
            "",
        ),
        (
            SCENES + '[outputs]\nfolder = "s3://bucket/o"\nstac = true\n',
            "stac is for outputs on a disk, not behind an address",
            "",
        ),
    ],
)
def test_what_is_refused(text: str, message: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(MMEarthError, match=message) as told:
        read_job(write(tmp_path, text))
    assert hint in str(told.value.hint or "")


def test_a_job_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MMEarthError, match="cannot read the job file"):
        read_job(tmp_path / "none.toml")


def test_models_by_name(
    tmp_path: Path, builtin_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `--model` takes them; other names are files beside the job."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "l.csv").write_text("scene\na.tif\n")
    path = write(tmp_path, SCENES + OUTPUTS)
    assert read_job(path).config.model == builtin_model
    path = write(tmp_path, 'model = "m.onnx"\n' + SCENES + OUTPUTS)
    assert read_job(path).config.model == tmp_path / "m.onnx"
    published = 'model = "pt-S2_atto_1M_64_uncertainty_56-8"\n'
    path = write(tmp_path, published + SCENES + OUTPUTS)
    with pytest.raises(MMEarthError, match="not on this machine yet"):
        read_job(path)
