"""Colours are the principal components, and are the same wherever they are used."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA

from mmearth_infer.errors import StoreError
from mmearth_infer.grid.window import Window
from mmearth_infer.view.basis import Basis, fit_basis, load_basis, save_basis
from mmearth_infer.view.sample import ENOUGH_SHARE, lattice_sample
from mmearth_infer.write.open_store import Embedding, open_store
from tests.mmearth_infer.view.stores import Made, Map, features, write_store


def store(path: Path, values: np.ndarray, made: Made | None = None) -> Embedding:
    return open_store(write_store(path, Map(features_Dhw=values), made=made))


def correlated(height: int = 30, width: int = 40) -> np.ndarray:
    """Embeddings of 8 channels that three numbers decide, and some noise."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(8, 3)) * (3, 2, 1)
    hidden = rng.normal(size=(3, height * width))
    noise = 0.1 * rng.normal(size=(8, height * width))
    values: np.ndarray = (mix @ hidden + noise + 7).reshape(8, height, width)
    values[:, :5, :5] = np.nan
    return values.astype(np.float32)


def test_components_are_those_of_scikit_learn(tmp_path: Path) -> None:
    """Up to their sign, with the same share of the variance."""
    values = correlated()
    basis = fit_basis(store(tmp_path / "s.zarr", values))
    cells = values.reshape(8, -1).T
    cells = cells[np.isfinite(cells).all(axis=1)]
    assert basis.cells == len(cells)
    expected = PCA(3).fit(cells)
    cosines = np.abs((basis.components * expected.components_).sum(axis=1))
    np.testing.assert_allclose(cosines, 1, rtol=1e-5)
    np.testing.assert_allclose(
        basis.explained, expected.explained_variance_ratio_, rtol=1e-4
    )
    np.testing.assert_allclose(basis.mean, expected.mean_, rtol=1e-5)
    largest = np.abs(basis.components).argmax(axis=1)
    assert (basis.components[np.arange(3), largest] > 0).all()


def test_two_in_a_hundred_are_beyond_the_stretch_on_either_side(tmp_path: Path) -> None:
    embedding = store(tmp_path / "s.zarr", correlated())
    box = embedding.geobox
    whole = Window(row=0, col=0, height=box.height, width=box.width)
    colours = fit_basis(embedding).colours(embedding.read(whole))
    assert colours.shape == (3, box.height, box.width)
    assert np.isnan(colours[:, :5, :5]).all()
    assert np.isfinite(colours).sum() == 3 * (box.pixels - 25)
    for band in colours:
        valid = band[np.isfinite(band)]
        assert (valid < 0).mean() == pytest.approx(0.02, abs=0.002)
        assert (valid > 1).mean() == pytest.approx(0.02, abs=0.002)


def test_the_same_embedding_has_the_same_basis_however_it_is_stored(
    tmp_path: Path,
) -> None:
    values = correlated()
    plain = fit_basis(store(tmp_path / "a.zarr", values), 300)
    small = fit_basis(store(tmp_path / "b.zarr", values, Made(chunk_cells=7)), 300)
    shard = fit_basis(store(tmp_path / "c.zarr", values, Made(layout="sharded")), 300)
    for other in (small, shard):
        np.testing.assert_array_equal(plain.components, other.components)
        np.testing.assert_array_equal(plain.low, other.low)
    assert plain.cells <= 300


def test_a_sample_is_a_lattice(tmp_path: Path) -> None:
    """Every second row and column of 30 x 40 for at most 300 cells."""
    values = correlated()
    sample = lattice_sample(store(tmp_path / "s.zarr", values), 300)
    expected = values[:, ::2, ::2].reshape(8, -1).T
    expected = expected[np.isfinite(expected).all(axis=1)]
    np.testing.assert_array_equal(sample, expected)


def test_a_small_island_of_data_is_found(tmp_path: Path) -> None:
    """The lattice becomes finer until it holds enough, or all there is."""
    values = np.full((4, 200, 200), np.nan, dtype=np.float32)
    values[:, 101:111, 51:61] = features(4, 10, 10)[:, :10, :10]
    held = int(np.isfinite(values[0]).sum())
    sample = lattice_sample(store(tmp_path / "s.zarr", values), 2000)
    assert held < 2000 // ENOUGH_SHARE
    assert len(sample) == held


def test_a_basis_is_kept(tmp_path: Path) -> None:
    embedding = store(tmp_path / "s.zarr", correlated())
    basis = fit_basis(embedding)
    path = tmp_path / "basis.json"
    save_basis(basis, path)
    again = load_basis(path)
    again.check(embedding, "basis.json")
    for name in ("mean", "components", "low", "high"):
        np.testing.assert_array_equal(getattr(again, name), getattr(basis, name))
    assert (again.model_digest, again.stage) == (basis.model_digest, 4)
    said = json.loads(path.read_text())
    assert said["stretch_percentiles"] == [2.0, 98.0]


def other_model(basis: Basis, folder: Path) -> Embedding:
    del basis
    made = Made(digest="sha256:" + "b" * 64)
    return store(folder / "other.zarr", correlated(), made)


def other_stage(basis: Basis, folder: Path) -> Embedding:
    del basis
    maps = (Map(features_Dhw=correlated(), stage=n) for n in (2, 3))
    return open_store(write_store(folder / "other.zarr", *maps))


def other_channels(basis: Basis, folder: Path) -> Embedding:
    del basis
    return store(folder / "other.zarr", features(5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (other_model, r"is a basis of model `made-up` \(sha256:a+\), .*sha256:b+\)"),
        (other_stage, "is a basis of stage 4, the embedding is of stage 3"),
        (other_channels, "is a basis of 8 channels, the embedding has 5"),
    ],
)
def test_a_basis_of_something_else(
    make: Callable[[Basis, Path], Embedding], message: str, tmp_path: Path
) -> None:
    basis = fit_basis(store(tmp_path / "s.zarr", correlated()))
    with pytest.raises(StoreError, match=message) as caught:
        basis.check(make(basis, tmp_path), "b.json")
    assert "--save-basis" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 9}, "schema 9"),
        ({"mean": [1.0]}, "shapes"),
        ({"low": [0, 0, float("nan")]}, "not finite"),
        ({"components": "many"}, "is not a basis"),
        ({"model": 3}, "is not a basis"),
    ],
)
def test_files_that_are_no_basis(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "basis.json"
    save_basis(fit_basis(store(tmp_path / "s.zarr", correlated())), path)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(StoreError, match=message):
        load_basis(path)
    path.write_text("[]")
    with pytest.raises(StoreError, match="is not a basis"):
        load_basis(path)
    with pytest.raises(StoreError, match="cannot read"):
        load_basis(tmp_path / "none.json")


def test_too_little_for_colours(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has 2 channels, colours need 3") as caught:
        fit_basis(store(tmp_path / "two.zarr", features(2)))
    assert "--similar-to" in str(caught.value.hint)
    nothing = np.full((5, 7, 9), np.nan, dtype=np.float32)
    with pytest.raises(StoreError, match="has 0 cells with data"):
        fit_basis(store(tmp_path / "nothing.zarr", nothing))


def test_a_store_where_every_cell_is_alike(tmp_path: Path) -> None:
    """No direction differs: colours are finite all the same."""
    embedding = store(tmp_path / "s.zarr", np.ones((5, 7, 9), dtype=np.float32))
    window = Window(row=0, col=0, height=7, width=9)
    assert np.isfinite(fit_basis(embedding).colours(embedding.read(window))).all()
