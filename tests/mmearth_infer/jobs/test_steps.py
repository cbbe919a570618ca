"""What is made of a finished store after its scene, and when it is made again."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import rasterio
import zarr
from msgspec.structs import replace

from mmearth_infer.engine.model import BUILTIN_MODEL
from mmearth_infer.engine.open import read_file
from mmearth_infer.errors import (
    JobError,
    MissingExtraError,
    MMEarthError,
    ModelError,
    StoreError,
)
from mmearth_infer.jobs.steps import (
    StepsTable,
    check_fit,
    check_steps,
    files_of,
    run_steps,
)
from mmearth_infer.probe.apply import ApplyConfig, apply_probe
from mmearth_infer.run.config import EmbedConfig
from mmearth_infer.view.basis import fit_basis, save_basis
from mmearth_infer.write.open_store import open_store
from tests.mmearth_infer.probe.made import write_probe
from tests.mmearth_infer.view.stores import Made, Map, features, mark, write_store

if TYPE_CHECKING:
    from pathlib import Path

ALL = StepsTable(
    probe="p.onnx",
    probabilities=True,
    preview=True,
    cog=(2, 1),
    pool=64,
)
"""One of each."""

NAMES = ["s.map.tif", "s.map.probability.tif", "s.png", "s.tif", "s.parquet"]
"""What they make of `s.zarr`."""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_probe(tmp_path / "p.onnx", channels=5)
    return write_store(
        tmp_path / "s.zarr",
        Map(features_Dhw=features(5, 40, 30)),
        made=Made(chunk_cells=16),
    )


def taken(store: Path, steps: StepsTable = ALL) -> list[str]:
    """Take steps, and return the names of what is there afterwards."""
    checked = check_steps(steps, store.parent)
    return [path.name for path in run_steps(store, checked)]


def written(folder: Path) -> dict[str, int]:
    """Return when each file beside the store was written."""
    return {
        path.name: path.stat().st_mtime_ns
        for path in folder.iterdir()
        if path.name not in {"s.zarr", "p.onnx"}
    }


def test_all_of_them(store: Path, tmp_path: Path) -> None:
    """Each file is what the command of its step makes."""
    assert taken(store) == NAMES
    assert {*written(tmp_path)} == {*NAMES, "s.pgw", "s.png.aux.xml"}
    assert [path.name for path in files_of(store, ALL)] == NAMES
    by_hand = ApplyConfig(
        store=store, probe=tmp_path / "p.onnx", out=tmp_path / "m.tif"
    )
    apply_probe(by_hand, lambda *_: None)
    with (
        rasterio.open(tmp_path / "m.tif") as expected,
        rasterio.open(tmp_path / "s.map.tif") as found,
        rasterio.open(tmp_path / "s.tif") as cog,
    ):
        np.testing.assert_array_equal(found.read(), expected.read())
        assert cog.descriptions == ("stage 4, channel 2", "stage 4, channel 1")


def test_nothing_is_made_twice(store: Path, tmp_path: Path) -> None:
    taken(store)
    before = written(tmp_path)
    taken(store)
    assert written(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "made_again"),
    [
        ({"cog": True}, {"s.tif"}),
        ({"pool": 32}, {"s.parquet"}),
        ({"basis": "b.json"}, {"s.png", "s.pgw", "s.png.aux.xml"}),
    ],
)
def test_what_has_other_settings_is_made_again(
    change: dict[str, Any], made_again: set[str], store: Path, tmp_path: Path
) -> None:
    """And nothing else."""
    save_basis(fit_basis(open_store(store)), tmp_path / "b.json")
    taken(store)
    before = written(tmp_path)
    taken(store, replace(ALL, **change))
    after = written(tmp_path)
    assert {name for name in after if after[name] != before[name]} == made_again


def test_another_probe_under_the_same_name(store: Path, tmp_path: Path) -> None:
    taken(store)
    before = written(tmp_path)
    write_probe(tmp_path / "p.onnx", channels=5, classes=2)
    taken(store)
    after = written(tmp_path)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"s.map.tif", "s.map.probability.tif"}


def test_all_of_another_store_is_made_again(store: Path, tmp_path: Path) -> None:
    taken(store)
    before = written(tmp_path)
    mark(store, scene={"name": "another"})
    taken(store)
    after = written(tmp_path)
    assert all(after[name] != before[name] for name in before)


def test_what_is_older_than_its_store_is_made_again(
    store: Path, tmp_path: Path
) -> None:
    """Its scene may have changed under the same name."""
    taken(store)
    os.utime(tmp_path / "s.png", ns=(0, 0))
    taken(store)
    assert (tmp_path / "s.png").stat().st_mtime_ns > 0


def test_a_part_that_is_missing_is_made_again(store: Path, tmp_path: Path) -> None:
    taken(store)
    (tmp_path / "s.pgw").unlink()
    (tmp_path / "s.map.probability.tif").unlink()
    taken(store)
    assert {*written(tmp_path)} == {*NAMES, "s.pgw", "s.png.aux.xml"}


@pytest.mark.parametrize("name", NAMES)
def test_files_of_others_are_not_replaced(
    name: str, store: Path, tmp_path: Path
) -> None:
    """And nothing is made beside them."""
    (tmp_path / name).write_bytes(b"somebody else's")
    with pytest.raises(StoreError, match="was not made by a step") as raised:
        taken(store)
    assert "move it away" in str(raised.value.hint)
    assert {*written(tmp_path)} == {name}
    assert (tmp_path / name).read_bytes() == b"somebody else's"


def test_a_map_by_hand_is_not_replaced_either(store: Path, tmp_path: Path) -> None:
    """Nor a link that leads nowhere."""
    out = tmp_path / "s.map.tif"
    config = ApplyConfig(store=store, probe=tmp_path / "p.onnx", out=out)
    apply_probe(config, lambda *_: None)
    with pytest.raises(StoreError, match=r"`.*s\.map\.tif` was not made by a step"):
        taken(store)
    out.unlink()
    out.symlink_to(tmp_path / "gone")
    with pytest.raises(StoreError, match=r"`.*s\.map\.tif` was not made by a step"):
        taken(store)


@pytest.mark.parametrize("probabilities", [False, True])
@pytest.mark.parametrize("side", [16, 32])
def test_a_map_in_a_store_is_that_in_a_tiff(
    probabilities: bool,  # noqa: FBT001 -- a case
    side: int,
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the size of its chunks."""
    monkeypatch.setattr("mmearth_infer.write.layout.MOST_CHUNK_CELLS", side)
    in_store = StepsTable(
        probe="p.onnx", probe_format="zarr", probabilities=probabilities
    )
    assert taken(store, in_store) == ["s.map.zarr"]
    taken(store, replace(in_store, probe_format="tif"))
    inner = "class/class" if probabilities else "class"
    found = zarr.open_array(tmp_path / "s.map.zarr" / inner, mode="r")
    with rasterio.open(tmp_path / "s.map.tif") as file:
        np.testing.assert_array_equal(found[...], file.read())
    if probabilities:
        shares = zarr.open_array(
            tmp_path / "s.map.zarr" / "probability" / "probability", mode="r"
        )
        with rasterio.open(tmp_path / "s.map.probability.tif") as file:
            np.testing.assert_array_equal(shares[...], file.read())
    with pytest.raises(StoreError, match="holds a map of classes"):
        open_store(tmp_path / "s.map.zarr")
    before = (tmp_path / "s.map.zarr" / "zarr.json").stat().st_mtime_ns
    taken(store, in_store)
    assert (tmp_path / "s.map.zarr" / "zarr.json").stat().st_mtime_ns == before
    mark(store, scene={"name": "another"})
    taken(store, in_store)
    assert (tmp_path / "s.map.zarr" / "zarr.json").stat().st_mtime_ns > before
    assert not list(tmp_path.glob("*.partial")) + list(tmp_path.glob("*.ledger"))


def test_a_step_that_fails_leaves_the_others(store: Path, tmp_path: Path) -> None:
    """And says that the store is there."""
    steps = check_steps(StepsTable(preview=True, pool=50), tmp_path)
    with pytest.raises(StoreError, match="--window 50 is not a multiple") as raised:
        run_steps(store, steps)
    assert "goes on with its pool" in str(raised.value.hint)
    assert {*written(tmp_path)} == {"s.png", "s.pgw", "s.png.aux.xml"}


def test_a_probe_that_is_gone(store: Path, tmp_path: Path) -> None:
    steps = check_steps(ALL, tmp_path)
    (tmp_path / "p.onnx").unlink()
    with pytest.raises(StoreError, match=r"cannot read `.*p\.onnx`") as raised:
        run_steps(store, steps)
    assert "under the same paths" in str(raised.value.hint)


def test_tables_as_a_job_file_says_them() -> None:
    said = msgspec.convert({"cog": [1, 2], "pool": 672}, StepsTable)
    assert (said.cog, said.pool, said.is_empty) == ((1, 2), 672, False)
    assert StepsTable().is_empty
    for wrong in ({"pool": 0}, {"cog": [0]}, {"probe_format": "png"}, {"Probe": "x"}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, StepsTable)


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ({"probabilities": True}, JobError, "probabilities goes with probe"),
        ({"probe_format": "zarr"}, JobError, "probe_format goes with probe"),
        ({"allow_other_model": True}, JobError, "allow_other_model goes with probe"),
        ({"basis": "b.json"}, JobError, "basis goes with preview"),
        ({"cog": (1, 1)}, JobError, "cog names a channel twice"),
        ({"probe": "none.onnx"}, ModelError, "there is no probe `.*none.onnx`"),
        ({"probe": "no.onnx"}, MMEarthError, "no.onnx"),
        ({"preview": True, "basis": "none.json"}, StoreError, "cannot read"),
        ({"preview": True, "basis": "no.onnx"}, StoreError, "is not a basis"),
    ],
)
def test_what_is_refused_early(
    table: dict[str, Any], error: type[MMEarthError], message: str, tmp_path: Path
) -> None:
    (tmp_path / "no.onnx").write_text("no probe")
    with pytest.raises(error, match=message):
        check_steps(StepsTable(**table), tmp_path)


def test_nothing_is_made_beside_an_address(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="not taken beside an address"):
        check_steps(StepsTable(preview=True), tmp_path, remote=True)
    assert check_steps(StepsTable(), tmp_path, remote=True).is_empty


def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"`\[steps\] pool` needs the `view`"):
        check_steps(StepsTable(pool=672), tmp_path)


def test_steps_must_fit_the_model(store: Path, tmp_path: Path) -> None:
    """Before the first scene is run."""
    config = EmbedConfig(scene="", model=BUILTIN_MODEL)
    model = read_file(BUILTIN_MODEL)
    output = model.manifest.output(None)

    def check(**table: Any) -> None:  # noqa: ANN401
        check_fit(check_steps(StepsTable(**table), tmp_path), config)

    save_basis(fit_basis(open_store(store)), tmp_path / "b.json")
    check(preview=True, pool=2 * output.stride_px)
    with pytest.raises(StoreError, match=r"\[steps\] pool 17 is not a multiple"):
        check(pool=17)
    with pytest.raises(JobError, match="is a basis of `made-up`") as raised:
        check(preview=True, basis="b.json")
    assert "--save-basis" in str(raised.value.hint)
    with pytest.raises(ModelError, match="was fitted on embeddings of `made-up`"):
        check(probe="p.onnx")
    digest = f"sha256:{model.digest}"
    write_probe(tmp_path / "own.onnx", channels=5, digest=digest, stage=output.stage)
    check(probe="own.onnx")
    write_probe(tmp_path / "one.onnx", channels=5, digest=digest, stage=9)
    with pytest.raises(JobError, match="is of stage 9, which the job does not keep"):
        check(probe="one.onnx")
    write_probe(
        tmp_path / "all.onnx",
        channels=5,
        digest=digest,
        stage=output.stage,
        finer_stages=(1, 2),
    )
    with pytest.raises(JobError, match="is of stage 1, 2, which the job") as lacking:
        check(probe="all.onnx")
    assert lacking.value.hint == f"[settings] stages = [1, 2, {output.stage}]"
