"""A scene with three kinds of ground that tell themselves apart, and its labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mmearth_infer.contract.bands import L1C_BANDS
from mmearth_training.finetune.recipe import FinetuneRecipe, checked
from tests.helpers.scenes import write_scene

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SIDE_PX = 128
CODES = (10, 20, 30)
"""Values of the labels; 0 is none of them."""

RECIPE = """
name = "planted"
validate_every_epochs = 2

[data]
images = "scene.tif"
labels = "labels.tif"
ignored = [0]
tile_px = 16
stride_px = 16
val_share = 0.15
test_share = 0.25
statistics = "data"

[loss]
class_weights = "balanced"

[optim]
decoder_epochs = 4
epochs = 8
warmup_epochs = 1
batch = 8
base_lr = 1.0

[[classes]]
name = "lake"
value = 10
rgb = [0, 114, 178]

[[classes]]
name = "field"
value = 20
rgb = [0, 158, 115]

[[classes]]
name = "town"
value = 30
rgb = [213, 94, 0]
"""


def planted(seed: int = 0) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Return `dn_CHW` of all 13 bands, and labels of patches of ground.

    Lakes are dark in B8A, fields bright; towns are as bright as fields, but striped.
    """
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 3, (SIDE_PX // 8, SIDE_PX // 8))
    kind_HW = kinds.repeat(8, 0).repeat(8, 1)
    stripes_HW = (np.arange(SIDE_PX) % 2 * 2000)[None].repeat(SIDE_PX, 0)
    level_HW = np.select([kind_HW == 0, kind_HW == 1], [900, 2500], 1500 + stripes_HW)
    noise_CHW = rng.normal(0, 60, (len(L1C_BANDS), SIDE_PX, SIDE_PX))
    dn_CHW = np.clip(level_HW + noise_CHW, 1, 9000).astype(np.uint16)
    labels_HW = np.array(CODES, np.uint8)[kind_HW]
    labels_HW[:, 60:64] = 0
    return dn_CHW, labels_HW


def write_planted(folder: Path) -> Path:
    """Write scene, labels and recipe into a folder."""
    folder.mkdir(exist_ok=True)
    dn_CHW, labels_HW = planted()
    write_scene(folder / "scene.tif", dn_CHW, bands=L1C_BANDS)
    write_scene(folder / "labels.tif", labels_HW[None], bands=None)
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


def recipe_with(recipe: FinetuneRecipe, **parts: Any) -> FinetuneRecipe:  # noqa: ANN401
    """Return a recipe with values of its tables replaced."""
    content = msgspec.to_builtins(recipe)
    for part, values in parts.items():
        if isinstance(values, dict):
            content[part].update(values)
        else:
            content[part] = values
    return checked(msgspec.convert(content, FinetuneRecipe))
