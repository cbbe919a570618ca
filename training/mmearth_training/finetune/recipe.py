"""A recipe of fine-tuning: everything that decides what a run computes, as one file."""

from __future__ import annotations

import math
from importlib import resources
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from mmearth_infer.contract.bands import BANDS, MMEARTH_BANDS
from mmearth_infer.contract.classes import MOST_CLASSES, MapClass
from mmearth_infer.errors import RecipeError
from mmearth_training.data.splits import Shares
from mmearth_training.model.encoder import SIZES, EncoderConfig

Code = int | str
"""How labels write a class: a number in a raster, a number or word in a field."""

_HINT: Final = "docs/guides/finetune.md lists the keys and what they mean"
_RECIPES: Final = resources.files("mmearth_training") / "recipes" / "finetune"


class _Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a recipe; unknown keys are errors."""


class ClassRecipe(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A class; the order of the classes is that of the logits."""

    name: str
    """What people call it."""

    value: Code
    """What stands for it in the labels."""

    rgb: tuple[int, int, int]
    """Its colour on maps."""


class DataRecipe(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Images and labels, and how they are cut."""

    images: str
    """A scene, or a pattern with one `*` for many chips, below `--data`."""

    labels: str
    """A raster or polygons for all of them, or a pattern: `*` stands for the same."""

    field: str = ""
    """Field of the polygons that says the class."""

    ignored: tuple[Code, ...] = ()
    """Values of the labels that are no class, and that nothing is learnt from."""

    tile_px: int = 128
    """Side of a tile; a multiple of the encoder's patch."""

    stride_px: int | None = None
    """Distance of neighbouring tiles to train on; `tile_px` if left out."""

    val_share: float = 0.1
    """Share of the blocks of ground to validate on."""

    test_share: float = 0.2
    """Share of the blocks of ground to test on, at the end."""

    statistics: Literal["pretraining", "data"] = "pretraining"
    """What standardises pixels: the encoder's own numbers, or those of these tiles."""

    @property
    def shares(self) -> Shares:
        """How much is held out."""
        return Shares(val=self.val_share, test=self.test_share)


class ModelRecipe(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The network; with `--checkpoint` its encoder is that one."""

    size: str = "atto"
    """One of the sizes of ConvNeXt V2."""

    patch_px: int = 16
    """Side of a patch."""

    bands: tuple[str, ...] = MMEARTH_BANDS
    """Input bands in order."""

    drop_path: float = 0.1
    """Share of samples that lose the last block of the encoder, in the second phase."""

    grn_eps: float = 1e-4
    """Epsilon of GRN, which takes its norm over each tile."""


class LossRecipe(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is minimised: cross-entropy where there is a label."""

    class_weights: Literal["equal", "balanced"] | tuple[float, ...] = "equal"
    """All the same, inverse to how often a class occurs, or one for each class."""

    label_smoothing: float = 0.0
    """Share of a label that goes to all classes alike."""


class OptimRecipe(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How: AdamW, linear warm-up, half a cosine to 0 over both phases."""

    decoder_epochs: int = 50
    """First phase: the encoder stays as it is."""

    epochs: int = 150
    """Second phase: everything is trained."""

    warmup_epochs: float = 5.0
    """Epochs of rising learning rate."""

    batch: int = 32
    """Tiles a step."""

    base_lr: float = 0.01
    """Learning rate for 256 tiles a step; scaled in proportion."""

    layer_decay: float = 0.9
    """Factor of the learning rate from each block of the encoder to the one before."""

    weight_decay: float = 0.3
    """Of weights; biases, norms and GRN have none."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of AdamW's averages."""


class FinetuneRecipe(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run of fine-tuning."""

    name: str
    """What it is called."""

    data: DataRecipe
    """Which images and labels."""

    classes: tuple[ClassRecipe, ...]
    """What is told apart."""

    about: str = ""
    """What it is for."""

    seed: int = 0
    """Decides initial weights, splits, order and turns."""

    validate_every_epochs: int = 10
    """Epochs between validations, each with a checkpoint; there is one at the end."""

    model: ModelRecipe = msgspec.field(default_factory=ModelRecipe)
    """Which network."""

    loss: LossRecipe = msgspec.field(default_factory=LossRecipe)
    """Which loss."""

    optim: OptimRecipe = msgspec.field(default_factory=OptimRecipe)
    """Which optimiser."""

    @property
    def map_classes(self) -> tuple[MapClass, ...]:
        """The classes as a manifest has them."""
        return tuple(MapClass(name=one.name, rgb=one.rgb) for one in self.classes)

    @property
    def codes(self) -> dict[Code, int]:
        """Number of the class that each value of the labels stands for."""
        return {one.value: number for number, one in enumerate(self.classes)}

    def encoder(self) -> EncoderConfig:
        """Return the shape of an encoder that starts from nothing."""
        return EncoderConfig(
            size=SIZES[self.model.size],
            bands=len(self.model.bands),
            patch_px=self.model.patch_px,
            grn_eps=self.model.grn_eps,
        )


def recipe_names() -> tuple[str, ...]:
    """Return the recipes that come with the package."""
    names = (item.name for item in _RECIPES.iterdir())
    return tuple(sorted(n.removesuffix(".toml") for n in names if n.endswith(".toml")))


def load_recipe(name: str) -> FinetuneRecipe:
    """Read a recipe: one that comes with the package by its name, or a TOML file.

    Raises:
        RecipeError: If there is none, or it has a key or value that cannot be.

    """
    ours = name in recipe_names()
    try:
        text = (_RECIPES / f"{name}.toml" if ours else Path(name)).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"there is no recipe `{name}`",
            hint=f"give a TOML file, or one of {', '.join(recipe_names())}",
        ) from error
    try:
        return checked(msgspec.toml.decode(text, type=FinetuneRecipe))
    except msgspec.DecodeError as error:
        raise RecipeError(
            f"recipe `{name}` cannot be read: {error}", hint=_HINT
        ) from error


def checked(recipe: FinetuneRecipe) -> FinetuneRecipe:
    """Return a recipe whose values agree with each other.

    Raises:
        RecipeError: Naming the first that does not.
        ManifestError: For a colour that is none.
        DataError: For shares that leave nothing to train on.
        ModelError: For an encoder that cannot be.

    """
    data, optim = recipe.data, recipe.optim
    _check_classes(recipe)
    if recipe.model.size not in SIZES:
        raise RecipeError(
            f"there is no size `{recipe.model.size}`",
            hint=f"choose one of {', '.join(SIZES)}",
        )
    recipe.encoder()
    _ = recipe.map_classes, data.shares
    if unknown := [band for band in recipe.model.bands if band not in BANDS]:
        raise RecipeError(f"model.bands names `{unknown[0]}`, which is no band")
    for name, value in (
        ("data.tile_px", data.tile_px),
        ("data.stride_px", data.stride_px or data.tile_px),
        ("validate_every_epochs", recipe.validate_every_epochs),
        ("optim.batch", optim.batch),
        ("optim.base_lr", optim.base_lr),
        ("optim.layer_decay", optim.layer_decay),
        ("optim.decoder_epochs + optim.epochs", optim.decoder_epochs + optim.epochs),
        ("model.grn_eps", recipe.model.grn_eps),
    ):
        if not 0 < value < math.inf:
            raise RecipeError(
                f"{name} is {value}, which is no number above 0", hint=_HINT
            )
    for name, value in (
        ("seed", recipe.seed),
        ("optim.decoder_epochs", optim.decoder_epochs),
        ("optim.epochs", optim.epochs),
        ("optim.warmup_epochs", optim.warmup_epochs),
        ("optim.weight_decay", optim.weight_decay),
    ):
        if not 0 <= value < math.inf:
            raise RecipeError(f"{name} is {value}, which is below 0", hint=_HINT)
    for name, value in (
        ("model.drop_path", recipe.model.drop_path),
        ("loss.label_smoothing", recipe.loss.label_smoothing),
        ("optim.betas", min(optim.betas)),
        ("optim.betas", max(optim.betas)),
    ):
        if not 0 <= value < 1:
            raise RecipeError(f"{name} is {value}, not from 0 to below 1", hint=_HINT)
    return recipe


def _check_classes(recipe: FinetuneRecipe) -> None:
    """Refuse classes that cannot be told apart, and weights that are not theirs."""
    count = len(recipe.classes)
    if not 2 <= count <= MOST_CLASSES:  # noqa: PLR2004 -- one class is no choice
        raise RecipeError(
            f"{count} classes are not from 2 to {MOST_CLASSES}",
            hint="name each as [[classes]]",
        )
    names: list[Code] = [one.name for one in recipe.classes]
    values = [one.value for one in recipe.classes] + [*recipe.data.ignored]
    for each in (names, values):
        if twice := [one for one in each if each.count(one) > 1]:
            raise RecipeError(f"`{twice[0]}` stands for two classes", hint=_HINT)
    weights = recipe.loss.class_weights
    if isinstance(weights, tuple) and (
        len(weights) != count or not all(0 < one < math.inf for one in weights)
    ):
        raise RecipeError(
            f"loss.class_weights are {weights}",
            hint=f"{count} numbers above 0, `equal` or `balanced`",
        )
