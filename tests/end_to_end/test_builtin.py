"""The model in the box: small, made from a committed encoder, and honest."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr

from mmearth_infer.contract.card import card_from_toml
from mmearth_infer.disk import sha256_of
from mmearth_infer.engine.open import read_file
from tests.conftest import Ran
from tests.helpers.digest import digest

Mmearth = Callable[..., Ran]

ENCODERS = Path(__file__).parents[2] / "training" / "encoders"


def test_it_is_small_and_made_from_an_encoder_that_is_kept(builtin_model: Path) -> None:
    """By `training/encoders/README.md`: weights and card are those that lie there."""
    assert builtin_model.stat().st_size <= 8 * 10**6
    manifest = read_file(builtin_model).manifest
    made_from = ENCODERS / manifest.provenance.checkpoint
    assert manifest.provenance.checkpoint_sha256 == sha256_of(made_from)
    card = made_from.with_name("card.toml")
    assert manifest.provenance.card == card_from_toml(card.read_text(), source="card")
    assert f"encoders/{made_from.parent.name} " in (ENCODERS / "README.md").read_text()
    assert [out.stage for out in manifest.outputs] == [1, 2, 3, 4]
    assert all(out.int8_scale for out in manifest.outputs)
    assert manifest.grn.scope == "frozen"
    assert manifest.verification is not None
    assert manifest.verification.max_relative <= manifest.verification.tolerance


def test_embed_takes_it_and_says_so_once(
    tmp_path: Path, builtin_model: Path, mmearth: Mmearth
) -> None:
    card = read_file(builtin_model).manifest.provenance.card
    assert card is not None
    box = ("--bbox", "500000,5395000,502000,5397000", "--json")
    ran = mmearth("embed", "demo", "-o", tmp_path / "unnamed.zarr", *box)
    assert ran.code == 0, ran.stderr
    (line,) = [text for text in ran.stderr.splitlines() if "built-in model" in text]
    assert line == (
        f"warning: the built-in model `builtin-atto` is {card.about} "
        "(--model names another)"
    )
    assert line.removeprefix("warning: ") in ran.report["warnings"]
    named = ("--model", "builtin", *box)
    assert mmearth("embed", "demo", "-o", tmp_path / "named.zarr", *named).code == 0
    assert digest(tmp_path / "unnamed.zarr") == digest(tmp_path / "named.zarr")
    store = zarr.open_group(tmp_path / "named.zarr", mode="r")
    features = np.asarray(store["embedding"])
    assert features.shape[0] == 320
    assert np.isfinite(features).any()
