"""Encoders by name: out of timm, and one that has learned nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch

from mmearth_infer.errors import MissingExtraError, ModelError
from mmearth_training.encoder_checkpoint import EncoderCheckpoint
from mmearth_training.evaluate.config import EvaluateConfig
from mmearth_training.evaluate.contender import find_baseline
from mmearth_training.evaluate.loop import evaluate
from mmearth_training.evaluate.timm_models import timm_contender
from tests.helpers.timm_stand_in import ConvNeXtV2, StandIn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Ran

CONVNEXT = "timm:convnextv2_small_stand_in"


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """The stand-in, where timm is looked for."""
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "timm", stand_in)
    return stand_in


def test_a_convnext_v2_becomes_an_encoder_of_ours(timm: StandIn) -> None:
    """Same map of the last stage from the same weights."""
    theirs = timm.create_model(
        CONVNEXT.removeprefix("timm:"), pretrained=True, num_classes=0, in_chans=3
    )
    assert isinstance(theirs, ConvNeXtV2)
    found = timm_contender(CONVNEXT)
    assert isinstance(found, EncoderCheckpoint)
    assert (found.config.patch_px, found.config.original_stem) == (32, True)
    assert found.bands == ("B4", "B3", "B2")
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = theirs.forward_features(x)
        torch.testing.assert_close(found.encoder()(x), expected, rtol=1e-4, atol=1e-4)


def test_the_real_timm() -> None:
    """The same, with timm's own sizes of either make; nothing is downloaded."""
    real: Any = pytest.importorskip(
        "timm", reason="timm needs torchvision, which has no build for this PyTorch"
    )
    for name in ("convnextv2_atto", "convnextv2_tiny"):
        theirs = real.create_model(name, pretrained=False, num_classes=0, in_chans=3)

        def create(*_: object, made: Any = theirs, **__: object) -> Any:  # noqa: ANN401
            return made

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(real, "create_model", create)
            found = timm_contender(f"timm:{name}")
        assert isinstance(found, EncoderCheckpoint)
        x = torch.randn(1, 3, 64, 64)
        with torch.inference_mode():
            expected = theirs.eval().forward_features(x)
            torch.testing.assert_close(
                found.encoder()(x), expected, rtol=1e-4, atol=1e-4
            )


def test_baselines_take_part(timm: StandIn, geobench: Path, tmp_path: Path) -> None:
    """A ConvNeXt V2 in every mode, another architecture as a linear probe."""
    assert timm is sys.modules["timm"]
    config: dict[str, Any] = {
        "data": geobench,
        "optim": {"batch": 16, "epochs": 1, "decoder_epochs": 0},
        "device": "cpu",
    }
    results = evaluate(
        EvaluateConfig(
            out=tmp_path / "all",
            baselines=(CONVNEXT, "untrained:atto"),
            tasks=("m-eurosat", "m-cashew-plant"),
            modes=("lp", "elp", "ft", "seg"),
            **config,
        ),
        quiet=True,
    )
    assert {(one.model, one.mode) for one in results} == {
        (name, mode)
        for name in (CONVNEXT, "untrained:atto")
        for mode in ("lp", "elp", "ft", "seg")
    }
    other: dict[str, Any] = {
        "out": tmp_path / "other",
        "baselines": ("timm:other_stand_in",),
        "tasks": ("m-eurosat",),
    }
    (one,) = evaluate(EvaluateConfig(**other, **config, modes=("lp",)), quiet=True)
    assert one.sha256 == ""
    with pytest.raises(ModelError, match="can be probed only") as caught:
        evaluate(EvaluateConfig(**other, **config, resume=True), quiet=True)
    assert "--mode lp" in str(caught.value.hint)


def test_weights_that_cannot_be_had_are_two_lines(
    geobench: Path,
    tmp_path: Path,
    mmearth: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "timm", StandIn(offline=True))
    words = ("evaluate", "geobench", "--data", geobench, "-o", tmp_path / "out")
    ran = mmearth(*words, "--baseline", CONVNEXT)
    assert ran.code == 1
    error, hint = ran.stderr.splitlines()
    assert "cannot be had: cannot find the requested files in the cache" in error
    assert hint.startswith("hint: ")


def test_no_timm_and_no_such_model(
    timm: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert timm is sys.modules["timm"]
    with pytest.raises(ModelError, match=r"Unknown model \(nonsense\)"):
        timm_contender("timm:nonsense")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match="needs the `evaluate` extra"):
        timm_contender(CONVNEXT)


def test_an_encoder_that_has_learned_nothing() -> None:
    """Of a size and a seed."""
    one, same, other = (
        find_baseline("untrained:atto", seed=seed).encoder("padded")
        for seed in (1, 1, 2)
    )
    weights = [model.stages[0][0].dwconv.weight for model in (one, same, other)]  # type: ignore[index]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
