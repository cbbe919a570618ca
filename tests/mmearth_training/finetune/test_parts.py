"""What a run is made of: recipe, tiles, batches, optimiser, scores."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
import rasterio
import torch
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_jaccard_index,
)

from mmearth_infer.contract.bands import MMEARTH_BANDS
from mmearth_infer.errors import DataError, MMEarthError, RecipeError
from mmearth_training.data.scenes import SceneOptions
from mmearth_training.finetune.batches import (
    TURNS,
    Batches,
    measure_statistics,
    turned,
)
from mmearth_training.finetune.optim import build_optimizer, layers_of
from mmearth_training.finetune.recipe import OptimRecipe, load_recipe, recipe_names
from mmearth_training.finetune.scores import score
from mmearth_training.finetune.setup import build, choose_statistics, class_weights
from mmearth_training.finetune.tiles import cut_labelled, find_pairs
from mmearth_training.model.encoder import EncoderConfig, Size
from mmearth_training.model.unet import Unet
from tests.helpers.planted import RECIPE, recipe_with, write_planted

if TYPE_CHECKING:
    from pathlib import Path

    from mmearth_training.finetune.recipe import FinetuneRecipe
    from mmearth_training.finetune.tiles import LabelledTiles


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene with labels."""
    return write_planted(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def recipe(folder: Path) -> FinetuneRecipe:
    """How it is fine-tuned on."""
    return load_recipe(str(folder / "recipe.toml"))


def cut(folder: Path, recipe: FinetuneRecipe) -> LabelledTiles:
    return cut_labelled(
        recipe, folder, bands=MMEARTH_BANDS, options=SceneOptions(), quiet=True
    )


@pytest.fixture(scope="module")
def tiles(folder: Path, recipe: FinetuneRecipe) -> LabelledTiles:
    """The tiles of it."""
    return cut(folder, recipe)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_that_comes_along(name: str) -> None:
    assert load_recipe(name).name == name
    assert load_recipe(name).about


def test_the_paper_in_numbers() -> None:
    """What a recipe leaves out is as in the paper, section 5."""
    optim = OptimRecipe()
    assert (optim.decoder_epochs, optim.epochs) == (50, 150)
    assert (optim.batch, optim.base_lr) == (32, 0.01)
    assert (optim.layer_decay, optim.weight_decay) == (0.9, 0.3)
    assert load_recipe("floods").model.drop_path == 0.1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[data]", "[data]\nnonsense = 1", "nonsense"),
        ("value = 20", "value = 10", "`10` stands for two classes"),
        ("value = 20", "value = 0", "`0` stands for two classes"),
        ('name = "town"', 'name = "lake"', "`lake` stands for two classes"),
        ("rgb = [213, 94, 0]", "rgb = [256, 94, 0]", "the colour"),
        ("batch = 8", "batch = 0", r"optim\.batch is 0"),
        ("base_lr = 1.0", "base_lr = inf", r"optim\.base_lr is inf"),
        ("decoder_epochs = 4", "decoder_epochs = -1", "is -1, which is below 0"),
        ('"balanced"', "[1.0, 2.0]", "class_weights are"),
        ("val_share = 0.15", "val_share = 0.8", "cannot be held out"),
        ("[loss]", "[model]\ndrop_path = 1.0\n[loss]", r"drop_path is 1\.0"),
        ("[loss]", '[model]\nsize = "giant"\n[loss]', "no size `giant`"),
        ("[loss]", '[model]\nbands = ["B99"]\n[loss]', "`B99`, which is no band"),
    ],
)
def test_recipes_that_cannot_be(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    assert old in RECIPE
    (tmp_path / "r.toml").write_text(RECIPE.replace(old, new, 1))
    with pytest.raises(MMEarthError, match=message):
        load_recipe(str(tmp_path / "r.toml"))


def test_no_pixel_is_in_two_splits(tiles: LabelledTiles) -> None:
    """And every split has tiles."""
    seen: dict[tuple[int, int], str] = {}
    for split, (_, window) in zip(tiles.splits, tiles.places, strict=True):
        for row in range(window.row, window.row + window.height):
            for col in range(window.col, window.col + window.width):
                assert seen.setdefault((row, col), split) == split
    assert set(tiles.splits) == {"train", "val", "test"}


def test_held_out_tiles_do_not_overlap(folder: Path, recipe: FinetuneRecipe) -> None:
    """Though those to train on do."""
    tiles = cut(folder, recipe_with(recipe, data={"stride_px": 8}))
    for split, overlaps in (("train", True), ("test", False), ("val", False)):
        rows = tiles.rows(split).tolist()
        pixels = np.zeros((128, 128), int)
        for row in rows:
            pixels[tiles.places[row][1].slices] += 1
        assert (pixels.max() > 1) == overlaps, split


def test_a_pixel_without_data_has_no_label(
    folder: Path, recipe: FinetuneRecipe, tiles: LabelledTiles
) -> None:
    """Nor has one whose label is ignored."""
    row = next(
        n for n, (_, window) in enumerate(tiles.places) if window.col in {48, 56}
    )
    assert (tiles.classes_NHW[row, :, 12:16] == -1).all()
    assert (tiles.classes_NHW[row, :, :12] >= 0).all()
    other = folder / "gap"
    write_planted(other)
    with rasterio.open(other / "scene.tif", "r+") as file:
        dn = file.read()
        dn[:, 5, 7] = 0
        file.write(dn)
    assert cut(other, recipe).classes_NHW[0, 5, 7] == -1
    assert tiles.classes_NHW[0, 5, 7] != -1


def test_images_and_labels_are_paired_by_the_star(
    recipe: FinetuneRecipe, tmp_path: Path
) -> None:
    pattern = {"images": "chips/*_S2.tif", "labels": "masks/*.png"}
    data = recipe_with(recipe, data=pattern).data
    with pytest.raises(DataError, match="there is no image"):
        find_pairs(data, tmp_path)
    for name in ("chips/b_S2.tif", "chips/a_S2.tif", "masks/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"`b_S2.tif` has no labels"):
        find_pairs(data, tmp_path)
    (tmp_path / "masks/b.png").touch()
    assert [
        tuple(str(path.relative_to(tmp_path)) for path in pair)
        for pair in find_pairs(data, tmp_path)
    ] == [("chips/a_S2.tif", "masks/a.png"), ("chips/b_S2.tif", "masks/b.png")]


def test_a_class_nobody_can_learn(folder: Path, recipe: FinetuneRecipe) -> None:
    snow = msgspec.structs.replace(recipe.classes[0], name="snow", value=99)
    unknown = msgspec.structs.replace(recipe, classes=(*recipe.classes, snow))
    with pytest.raises(DataError, match="`snow` does not occur"):
        cut(folder, unknown)


def batches_of(tiles: LabelledTiles, size: int = 8) -> Batches:
    return Batches(
        tiles=tiles,
        statistics=measure_statistics(tiles),
        size=size,
        seed=1,
        device=torch.device("cpu"),
    )


def test_an_epoch_holds_every_tile_once(tiles: LabelledTiles) -> None:
    """Turned pixels keep their labels; a step depends on nothing but its number."""
    batches = batches_of(tiles)
    plain = batches.of(tiles.rows("train").tolist())
    sums = sorted(plain.x_NBHW.sum((1, 2, 3)).tolist())
    epoch = [batches.training(n) for n in range(1, batches.steps_an_epoch + 1)]
    found = torch.cat([batch.x_NBHW for batch in epoch])
    assert sorted(found.sum((1, 2, 3)).tolist()) == pytest.approx(sums, abs=1e-2)
    classes = torch.cat([batch.classes_NHW for batch in epoch])
    b8a_NHW = found[:, MMEARTH_BANDS.index("B8A")]
    assert b8a_NHW[classes == 0].max() < b8a_NHW[classes > 0].min()  # lakes are dark
    again = batches_of(tiles).training(3)
    torch.testing.assert_close(again.x_NBHW, epoch[2].x_NBHW, rtol=0, atol=0)
    later = batches.training(3 + batches.steps_an_epoch)
    assert not torch.equal(later.x_NBHW, epoch[2].x_NBHW)


def test_the_eight_ways_to_lay_a_square() -> None:
    x = torch.arange(9.0).reshape(3, 3)
    ways = {tuple(turned(x, turn).flatten().tolist()) for turn in range(TURNS)}
    assert len(ways) == TURNS


def test_statistics_standardise_the_tiles_to_train_on(tiles: LabelledTiles) -> None:
    x = batches_of(tiles).of(tiles.rows("train").tolist()).x_NBHW
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(12), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        x.std((0, 2, 3), correction=0), torch.ones(12), atol=1e-4, rtol=0
    )


def test_statistics_as_the_recipe_says(
    tiles: LabelledTiles, recipe: FinetuneRecipe
) -> None:
    assert choose_statistics(recipe, tiles, None) == measure_statistics(tiles)
    own = recipe_with(recipe, data={"statistics": "pretraining"})
    known = choose_statistics(own, tiles, None)
    assert known["l1c"].mean[0] == pytest.approx(1864.88, abs=0.01)
    start = type("Start", (), {"statistics": {"l1c": known["l1c"]}})()
    other = replace(tiles, levels=("l2a",) * len(tiles.levels))
    with pytest.raises(DataError, match="no statistics of L2A"):
        choose_statistics(own, other, start)


def test_balanced_classes_weigh_the_same_together(
    tiles: LabelledTiles, recipe: FinetuneRecipe
) -> None:
    weights = class_weights(recipe, tiles)
    train = torch.from_numpy(tiles.classes_NHW[tiles.rows("train")])
    pixels = torch.stack([(train == k).sum() for k in range(3)])
    together = weights * pixels
    torch.testing.assert_close(together, together.mean().expand(3))
    given = recipe_with(recipe, loss={"class_weights": [1.0, 2.0, 3.0]})
    assert class_weights(given, tiles).tolist() == [1, 2, 3]


def test_layer_decay_reaches_every_weight_once() -> None:
    """The decoder learns fastest, each block slower than the one behind it."""
    config = EncoderConfig(size=Size(depths=(1, 1, 2, 1), dims=(4, 6, 8, 10)), bands=3)
    unet = Unet(config, 2)
    assert {id(p) for _, p in layers_of(unet)} == {id(p) for p in unet.parameters()}
    assert len([*layers_of(unet)]) == len([*unet.parameters()])
    optim = OptimRecipe(base_lr=0.256, batch=1, layer_decay=0.5)
    optimizer = build_optimizer(unet, optim)
    rates = {
        id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]
    }
    blocks = [block for stage in unet.encoder.blocks() for block in stage]
    seen = [rates[id(block.pwconv1.weight)] for block in blocks]
    assert seen == pytest.approx([0.001 / 2**n for n in (5, 4, 3, 2, 1)])
    assert rates[id(unet.decoder.head.weight)] == pytest.approx(0.001)
    assert rates[id(unet.encoder.stem_layers[0].weight)] == pytest.approx(0.001 / 2**6)
    _, second = unet.encoder.downsample(2)
    assert rates[id(second.weight)] == seen[2]
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert (group["weight_decay"] > 0) == (parameter.ndim > 1)


def test_scores_are_those_of_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(2)
    maps = torch.randint(0, 4, (5, 9, 9), generator=generator)
    labels = torch.randint(-1, 4, (5, 9, 9), generator=generator)
    confusion = multiclass_confusion_matrix(maps, labels, 4, ignore_index=-1)
    found = score(confusion, "abcd", loss=0.5)
    jaccard = multiclass_jaccard_index(maps, labels, 4, average=None, ignore_index=-1)
    assert list(found.iou.values()) == pytest.approx(jaccard.tolist())
    assert found.mean_iou == pytest.approx(float(jaccard.mean()))
    accuracy = multiclass_accuracy(maps, labels, 4, average="micro", ignore_index=-1)
    assert found.accuracy == pytest.approx(float(accuracy))
    assert found.pixels == int((labels >= 0).sum())


def test_a_class_that_nowhere_occurs_has_no_score() -> None:
    confusion = torch.tensor([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    found = score(confusion, "abc", loss=0.0)
    assert found.iou == {"a": 0.75, "b": 0.8, "c": None}
    assert found.mean_iou == pytest.approx(0.775)


def test_tiles_are_made_of_the_encoders_patches(recipe: FinetuneRecipe) -> None:
    odd = recipe_with(recipe, data={"tile_px": 24})
    with pytest.raises(RecipeError, match="24 px are not made of patches of 16 px"):
        build(odd, None)
