"""A recipe: everything that decides what a pretraining run computes, as one file.

What only decides how fast it is computed (device, backend, workers) is no part of a
recipe; two runs of one recipe on one data set are the same run.
"""

from __future__ import annotations

import math
from importlib import resources
from pathlib import Path
from typing import Any, Final

import msgspec

from mmearth_infer.errors import RecipeError
from mmearth_training.modalities import MODEL_BANDS, RGB_BANDS, choose_tasks
from mmearth_training.model.decoder import DecoderConfig
from mmearth_training.model.encoder import SIZES, EncoderConfig
from mmearth_training.model.masking import count_visible
from mmearth_training.model.mpmae import MpMaeConfig
from mmearth_training.recipe_parts import (
    AugmentRecipe,
    DataRecipe,
    LossRecipe,
    ModelRecipe,
    OptimRecipe,
    Part,
)

_HINT: Final = "docs/guides/pretrain.md lists the keys and what they mean"
_RECIPES: Final = resources.files("mmearth_training") / "recipes"


class Recipe(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A pretraining run."""

    name: str
    """What it is called."""

    about: str = ""
    """What it is for."""

    seed: int = 0
    """Decides initial weights, order, crops and masks."""

    save_every_epochs: float = 5.0
    """Epochs between checkpoints; there is always one at the end."""

    validate_every_epochs: float = 5.0
    """Epochs between validations; there is always one at the end."""

    data: DataRecipe = msgspec.field(default_factory=DataRecipe)
    """Which data."""

    augment: AugmentRecipe = msgspec.field(default_factory=AugmentRecipe)
    """Which looks at them."""

    model: ModelRecipe = msgspec.field(default_factory=ModelRecipe)
    """Which network."""

    loss: LossRecipe = msgspec.field(default_factory=LossRecipe)
    """Which loss."""

    optim: OptimRecipe = msgspec.field(default_factory=OptimRecipe)
    """Which optimiser."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the pretext tasks, in the order of the table."""
        return choose_tasks(self.model.tasks)

    @property
    def bands(self) -> tuple[str, ...]:
        """Input bands in order: three for the set `rgb`, else twelve."""
        return RGB_BANDS if self.model.tasks == "rgb" else MODEL_BANDS

    @property
    def patches(self) -> int:
        """Patches of a crop."""
        return (self.data.crop_px // self.model.patch_px) ** 2

    @property
    def visible(self) -> int:
        """Patches of a crop that the encoder sees."""
        return count_visible(self.patches, self.model.mask_ratio)

    def network(self) -> MpMaeConfig:
        """Return what the recipe says of the network and its loss.

        Raises:
            RecipeError: For values that cannot be.
            ModelError: For an encoder that cannot be.

        """
        return MpMaeConfig(
            encoder=EncoderConfig(
                size=SIZES[self.model.size],
                bands=len(self.bands),
                patch_px=self.model.patch_px,
                original_stem=self.model.original_stem,
                grn="batch",
                grn_eps=self.model.grn_eps,
            ),
            decoder=DecoderConfig(
                decoders=self.model.decoders,
                pooling=self.model.pooling,
                image_norm=self.model.image_norm,
                width=self.model.decoder_width,
            ),
            tasks=self.tasks,
            weighting=self.loss.weighting,
            normalise_patches=self.loss.normalise_patches,
            missing_as_mean=self.loss.missing_as_mean,
        )


def recipe_names() -> tuple[str, ...]:
    """Return the recipes that come with the package."""
    return tuple(
        sorted(
            item.name.removesuffix(".toml")
            for item in _RECIPES.iterdir()
            if item.name.endswith(".toml")
        )
    )


def load_recipe(name: str) -> Recipe:
    """Read a recipe: one that comes with the package by its name, or a TOML file.

    Raises:
        RecipeError: If there is none, or it has a key or value that cannot be.

    """
    if name in recipe_names():
        text, source = (_RECIPES / f"{name}.toml").read_text(), name
    else:
        try:
            text, source = Path(name).read_text(), name
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(
                f"there is no recipe `{name}`",
                hint=f"give a TOML file, or one of {', '.join(recipe_names())}",
            ) from error
    try:
        recipe = msgspec.toml.decode(text, type=Recipe)
    except msgspec.DecodeError as error:
        raise RecipeError(
            f"recipe `{source}` cannot be read: {error}",
            hint=_HINT,
        ) from error
    return checked(recipe)


def changed(recipe: Recipe, **parts: Any) -> Recipe:  # noqa: ANN401
    """Return a recipe with some values replaced: `changed(r, optim={"epochs": 3})`.

    Raises:
        RecipeError: For a value that cannot be.

    """
    content = msgspec.to_builtins(recipe)
    for part, values in parts.items():
        if isinstance(values, dict):
            content[part].update(values)
        else:
            content[part] = values
    return checked(msgspec.convert(content, Recipe))


def checked(recipe: Recipe) -> Recipe:
    """Return a recipe whose values agree with each other.

    Raises:
        RecipeError: Naming the first that does not.
        ModelError: For an encoder that cannot be.

    """
    data, model, optim = recipe.data, recipe.model, recipe.optim
    if model.size not in SIZES:
        raise RecipeError(
            f"there is no size `{model.size}`", hint=f"choose one of {', '.join(SIZES)}"
        )
    recipe.network()
    if data.crop_px % model.patch_px or not 0 < data.crop_px <= data.tile_px:
        raise RecipeError(
            f"a crop of {data.crop_px} px from tiles of {data.tile_px} px is not made "
            f"of patches of {model.patch_px} px",
            hint="the paper crops 112 px from 128 px, and 56 px from 64 px",
        )
    _ = recipe.visible
    _check_zoom(recipe)
    if optim.epochs < 1 or not 0 <= optim.warmup_epochs <= optim.epochs:
        raise RecipeError(
            f"{optim.warmup_epochs} warm-up epochs do not fit {optim.epochs} epochs",
            hint="lower optim.warmup_epochs",
        )
    if optim.micro_batch < 1 or optim.batch % optim.micro_batch:
        raise RecipeError(
            f"a batch of {optim.batch} is not made of micro batches of "
            f"{optim.micro_batch}",
            hint="optim.batch is a multiple of optim.micro_batch times processes",
        )
    for name, value in (
        ("data.looks", data.looks),
        ("optim.batch", optim.batch),
        ("optim.base_lr", optim.base_lr),
        ("save_every_epochs", recipe.save_every_epochs),
        ("validate_every_epochs", recipe.validate_every_epochs),
        ("model.grn_eps", model.grn_eps),
        ("model.decoder_width", model.decoder_width),
    ):
        if not 0 < value < math.inf:
            raise RecipeError(
                f"{name} is {value}, which is no number above 0", hint=_HINT
            )
    for name, value in (
        ("seed", recipe.seed),
        ("optim.weight_decay", optim.weight_decay),
        ("augment.gain", recipe.augment.gain),
        ("augment.band_gain", recipe.augment.band_gain),
        ("augment.band_offset", recipe.augment.band_offset),
    ):
        if not 0 <= value < math.inf:
            raise RecipeError(f"{name} is {value}, which is below 0", hint=_HINT)
    if not all(0 <= beta < 1 for beta in optim.betas):
        raise RecipeError(
            f"optim.betas are {optim.betas}, which do not lie from 0 to 1",
            hint="the paper has 0.9 and 0.95",
        )
    return recipe


def _check_zoom(recipe: Recipe) -> None:
    """Refuse looks that no tile holds."""
    (least, most), data = recipe.augment.zoom, recipe.data
    if not 0 < least <= most < math.inf or most * data.crop_px > data.tile_px:
        raise RecipeError(
            f"augment.zoom is {least} to {most}, which takes a crop of {data.crop_px} "
            f"px out of a tile of {data.tile_px} px",
            hint="two numbers, the least first, in sides of a crop",
        )
