"""A map says of every cell what the probe says of its embedding, where the cell is."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from mmearth_infer.errors import ManifestError, MMEarthError, ModelError
from mmearth_infer.grid.window import Window
from mmearth_infer.probe import probe_file
from mmearth_infer.probe.apply import ApplyConfig, Mapped, apply_probe
from mmearth_infer.probe.probe_file import open_probe
from mmearth_infer.write.open_store import Embedding, open_store
from tests.mmearth_infer.probe.made import write_probe
from tests.mmearth_infer.view.stores import Made, Map, features, write_store

WHOLE = Window(row=0, col=0, height=40, width=30)


def stored(folder: Path, chunk: int = 16, **made: object) -> Path:
    values = features(5, 40, 30)
    return write_store(
        folder / f"s{chunk}.zarr",
        Map(features_Dhw=values),
        made=Made(chunk_cells=chunk, **made),  # type: ignore[arg-type]
    )


def mapped(folder: Path, store: Path, **changes: object) -> Mapped:
    probe = folder / "p.onnx"
    if not probe.exists():
        write_probe(probe, channels=5)
    plain = ApplyConfig(store=store, probe=probe, out=folder / "m.tif", overwrite=True)
    return apply_probe(replace(plain, **changes), lambda *_: None)  # type: ignore[arg-type]


def test_every_cell(tmp_path: Path) -> None:
    """Its class by hand; 255 where there is no data; classes add up to the cells."""
    store = stored(tmp_path)
    done = mapped(tmp_path, store, probabilities=tmp_path / "q.tif")
    embedding = open_store(store)
    values = embedding.read(WHOLE)
    logits = open_probe(tmp_path / "p.onnx").logits(values.reshape(5, -1).T)
    expected = logits.argmax(axis=1).reshape(40, 30).astype(np.uint8)
    empty = np.isnan(values[0])
    expected[empty] = 255
    with rasterio.open(tmp_path / "m.tif") as file:
        found = file.read(1)
        assert file.dtypes == ("uint8",)
        assert file.nodata == 255
        assert file.crs == embedding.geobox.crs
        assert file.transform == embedding.geobox.transform
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert json.loads(file.tags()["MMEARTH_CLASSES"]) == [
            "class 0",
            "class 1",
            "class 2",
        ]
        assert file.tags()["MMEARTH_MODEL_DIGEST"] == embedding.model_digest
        assert file.colormap(1)[1] == (230, 159, 0, 255)
        assert file.colormap(1)[255][3] == 0
    np.testing.assert_array_equal(found, expected)
    assert done.without_data == empty.sum() > 0
    assert done.cells == {f"class {n}": int((expected == n).sum()) for n in range(3)}
    assert sum(done.square_km.values()) == pytest.approx((~empty).sum() * 0.0256)
    with rasterio.open(tmp_path / "q.tif") as file:
        shares = file.read()
        assert file.descriptions == ("class 0", "class 1", "class 2")
        assert np.isnan(file.nodata)
    assert np.isnan(shares[:, empty]).all()
    np.testing.assert_allclose(shares[:, ~empty].sum(axis=0), 1, atol=1e-6)
    np.testing.assert_array_equal(shares[:, ~empty].argmax(axis=0), expected[~empty])


@pytest.mark.parametrize("kind", ["logistic", "knn"])
def test_chunks_and_parts_change_nothing(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_probe(tmp_path / "p.onnx", channels=5, kind=kind)  # type: ignore[arg-type]
    mapped(tmp_path, stored(tmp_path, 16))
    first = (tmp_path / "m.tif").read_bytes()
    monkeypatch.setattr(probe_file, "ROWS", 7)
    mapped(tmp_path, stored(tmp_path, 9))
    assert (tmp_path / "m.tif").read_bytes() == first


def test_memory_is_that_of_a_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    real = Embedding.read

    def watched(self: Embedding, window: Window) -> np.ndarray:
        sizes.append(window.height * window.width)
        return real(self, window)

    monkeypatch.setattr(Embedding, "read", watched)
    mapped(tmp_path, stored(tmp_path, 8))
    assert max(sizes) == 64


def test_larger_maps_have_smaller_copies(tmp_path: Path) -> None:
    """Of the class that most cells have: no classes between two others."""
    values = np.zeros((5, 40, 1200), np.float32)
    values[:, :, ::2] = features(5, 40, 600)
    write_store(tmp_path / "l.zarr", Map(features_Dhw=values))
    mapped(tmp_path, tmp_path / "l.zarr")
    with rasterio.open(tmp_path / "m.tif") as file:
        assert file.overviews(1) == [2, 4]
        classes = set(np.unique(file.read(1)))
        small = file.read(1, out_shape=(20, 600))
    assert set(np.unique(small)) <= classes


def test_probes_of_other_models(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = stored(tmp_path, digest="sha256:" + "b" * 64)
    with pytest.raises(ModelError, match=r"aaaa.*`made-up`.*bbbb") as hit:
        mapped(tmp_path, store)
    assert "--allow-other-model" in str(hit.value.hint)
    assert not (tmp_path / "m.tif").exists()
    mapped(tmp_path, store, allow_other_model=True)
    assert "was fitted on embeddings of `made-up`" in caplog.text
    write_probe(tmp_path / "p.onnx", channels=6)
    with pytest.raises(ModelError, match="reads 6 channels, these embeddings have 5"):
        mapped(tmp_path, store, allow_other_model=True)
    write_probe(tmp_path / "p.onnx", channels=5, stage=2)
    with pytest.raises(MMEarthError, match="does not hold stage 2"):
        mapped(tmp_path, store)


def test_files_that_are_no_probes(tmp_path: Path, echo_model: Path) -> None:
    store = stored(tmp_path)
    with pytest.raises(ModelError, match="there is no probe") as caught:
        mapped(tmp_path, store, probe=tmp_path / "none.onnx")
    assert "mmearth probe fit" in str(caught.value.hint)
    with pytest.raises(ManifestError, match="is not a probe"):
        mapped(tmp_path, store, probe=echo_model)
    (tmp_path / "text.onnx").write_text("nothing")
    with pytest.raises(ModelError, match="is not a probe"):
        mapped(tmp_path, store, probe=tmp_path / "text.onnx")
    lies = write_probe(tmp_path / "lies.onnx", channels=6, promised=5)
    with pytest.raises(ModelError, match="not the one its manifest describes"):
        mapped(tmp_path, store, probe=lies)
