"""The guides to recipes: their tables name every key, their examples can be read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from mmearth_infer.read.options import SceneOptions
from mmearth_training.config import Recipe
from mmearth_training.data.scene_list import list_scenes
from mmearth_training.finetune.recipe import FinetuneRecipe
from tests.helpers.markdown import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

GUIDES = Path(__file__).resolve().parents[2] / "docs" / "guides"


def keys(recipe: type[msgspec.Struct], table: str = "") -> Iterator[str]:
    """Yield the keys of a recipe as guides write them, `optim.batch`."""
    for field in msgspec.structs.fields(recipe):
        inner = field.type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from keys(inner, f"{field.name}.")
        else:
            yield f"{table}{field.name}"


@pytest.mark.parametrize(
    ("guide", "recipe"), [("pretrain.md", Recipe), ("finetune.md", FinetuneRecipe)]
)
def test_every_key_of_a_recipe_is_in_its_guide(
    guide: str, recipe: type[msgspec.Struct]
) -> None:
    lines = (GUIDES / guide).read_text().splitlines()
    named = [line.split("|")[1] for line in lines if line.startswith("| `")]
    assert set(re.findall("`(.+?)`", "".join(named))) == set(keys(recipe))


def example(guide: str) -> str:
    (text,) = [block.text for block in blocks(GUIDES / guide) if block.kind == "toml"]
    return text


def test_the_example_of_a_recipe_is_one() -> None:
    recipe = msgspec.toml.decode(example("finetune.md"), type=FinetuneRecipe)
    assert [known.name for known in recipe.classes] == ["wheat", "maize"]


def test_the_example_of_a_list_of_scenes_is_one(tmp_path: Path) -> None:
    (tmp_path / "list.toml").write_text(example("pretrain.md"))
    given = [str(tmp_path / "list.toml")]
    (asked,) = list_scenes(given, options=SceneOptions(), date=None, stride_px=64)
    assert (asked.path, asked.stride_px) == ("amazon.tif", 32)
