"""Writes recipes as files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

    from mmearth_training.config import Recipe


def write_recipe(recipe: Recipe, path: Path) -> Path:
    """Write a recipe as TOML, whose values look as in JSON."""
    lines, tables = [], []
    for key, value in msgspec.to_builtins(recipe).items():
        if isinstance(value, dict):
            tables.append(f"[{key}]")
            tables += [f"{name} = {json.dumps(one)}" for name, one in value.items()]
        else:
            lines.append(f"{key} = {json.dumps(value)}")
    path.write_text("\n".join((*lines, *tables)))
    return path
