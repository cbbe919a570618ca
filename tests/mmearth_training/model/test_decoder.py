"""The decoder computes less than the plain order and says the same."""

import os
import shutil
from dataclasses import replace

import pytest
import torch

from mmearth_training.losses import mean_error
from mmearth_training.modalities import MODALITIES, SETS
from mmearth_training.model.decoder import Decoder, DecoderConfig, Decoders, Pooling
from mmearth_training.model.masking import Mask, pick
from mmearth_training.model.mpmae import MpMae, MpMaeConfig
from tests.helpers.pretraining import (
    gradients,
    plain_predictions,
    random_batch,
    random_mask,
    randomise,
    relative,
    small_config,
)

MASK = random_mask(2, 4, 6)

deprecations = pytest.mark.filterwarnings(
    # TorchDynamo and TorchInductor use what PyTorch deprecates
    "ignore::DeprecationWarning"
)

EVERY_KIND = pytest.mark.parametrize(
    ("decoders", "pooling", "image_norm"),
    [
        (decoders, pooling, image_norm)
        for decoders in ("separate", "shared")
        for pooling in ("hidden", "all")
        for image_norm in (False, True)
    ],
)


def build(config: DecoderConfig) -> Decoder:
    settings = small_config()
    decoder = Decoder(
        config,
        tasks=[MODALITIES[name] for name in settings.tasks],
        channels={name: settings.channels(name) for name in settings.tasks},
        encoder_width=24,
        patch_px=4,
    )
    randomise(decoder)
    return decoder


def rows(mask: Mask = MASK) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(*mask.visible_NV.shape, 24, generator=generator)


def at_hidden(plain: dict[str, torch.Tensor], mask: Mask) -> dict[str, torch.Tensor]:
    return {
        name: pick(values, mask.hidden_NU) if values.ndim == 3 else values
        for name, values in plain.items()
    }


@EVERY_KIND
def test_equals_the_plain_order(
    decoders: Decoders, pooling: Pooling, *, image_norm: bool
) -> None:
    """Every prediction to 1e-5, and the gradient of every parameter."""
    config = DecoderConfig(
        decoders=decoders, pooling=pooling, image_norm=image_norm, width=32
    )
    decoder = build(config)
    pulls = []
    ours = decoder(rows(), MASK)
    plain = at_hidden(plain_predictions(decoder, rows(), MASK), MASK)
    assert list(ours) == list(plain) == list(SETS["all"])
    for name, values in ours.items():
        assert values.shape == plain[name].shape
        assert relative(values, plain[name]) < 1e-5, name
    for predictions in (ours, plain):
        decoder.zero_grad()
        sum(values.square().sum() for values in predictions.values()).backward()
        pulls.append({name: pull.clone() for name, pull in gradients(decoder).items()})
    for name, pull in pulls[1].items():
        assert relative(pulls[0][name], pull) < 1e-4, name
        assert pull.any(), name


@pytest.mark.parametrize("level", ["pixel", "image"])
@pytest.mark.parametrize("decoders", ["separate", "shared"])
def test_tasks_do_not_depend_on_which_others_there_are(
    level: str, decoders: Decoders
) -> None:
    config = DecoderConfig(decoders=decoders, width=32)
    decoder = build(config)
    everything = decoder(rows(), MASK)
    for name in SETS["all"]:
        if MODALITIES[name].level != level:
            del decoder.levels[name]
    some = decoder(rows(), MASK)
    assert set(some) < set(everything)
    for name, values in some.items():
        torch.testing.assert_close(values, everything[name])


@pytest.mark.parametrize(("decoders", "count"), [("separate", 12), ("shared", 1)])
def test_blocks_a_task_or_one_for_all(decoders: Decoders, count: int) -> None:
    assert len(build(DecoderConfig(decoders=decoders, width=8)).blocks) == count


def test_image_norm_is_there_for_image_level_tasks_only() -> None:
    config = small_config(
        tasks=SETS["pixel"], decoder=DecoderConfig(width=8, image_norm=True)
    )
    assert MpMae(config).decoder.image_norm is None
    assert build(DecoderConfig(width=8)).image_norm is None
    assert build(DecoderConfig(width=8, image_norm=True)).image_norm is not None


def test_poolings_differ_in_image_level_tasks_only() -> None:
    hidden = build(DecoderConfig(pooling="hidden", width=32))
    everything = build(DecoderConfig(pooling="all", width=32))
    everything.load_state_dict(hidden.state_dict())
    ours, theirs = hidden(rows(), MASK), everything(rows(), MASK)
    for name in SETS["all"]:
        alike = torch.allclose(ours[name], theirs[name])
        assert alike == (MODALITIES[name].level == "pixel"), name


class TestWhole:
    """The model as the training step runs it."""

    config = small_config(decoder=DecoderConfig(width=32))

    def step(
        self,
        model: MpMae,
        *,
        mask: Mask = MASK,
        compiler: str = "",
        autocast: bool = False,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the losses of the tasks and all gradients."""
        x, targets = random_batch(model.config, mask)
        model.zero_grad()
        forward = torch.compile(model, backend=compiler) if compiler else model
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            totals, counts = forward(x, targets, mask)
        losses = mean_error(totals, counts)
        model.weights(losses).backward()
        pulls = {name: pull.clone() for name, pull in gradients(model).items()}
        return losses.detach(), pulls

    def model(self, config: MpMaeConfig = config) -> MpMae:
        model = MpMae(config)
        randomise(model)
        return model

    def assert_compiled_is_eager(self, config: MpMaeConfig, compiler: str) -> None:
        model = self.model(config)
        losses, pulls = self.step(model)
        compiled, compiled_pulls = self.step(model, compiler=compiler)
        torch.testing.assert_close(compiled, losses, rtol=1e-5, atol=0)
        for name, pull in pulls.items():
            assert relative(compiled_pulls[name], pull) < 1e-4, name

    @deprecations
    def test_traced_equals_eager(self) -> None:
        """Everything of `torch.compile` but its code generator, which is slow."""
        tasks = ("sentinel2", "dynamic_world", "biome")
        decoder = DecoderConfig(width=32, decoders="shared")
        config = replace(self.config, decoder=decoder, tasks=tasks)
        self.assert_compiled_is_eager(config, "aot_eager")

    @deprecations
    @pytest.mark.skipif(
        "MMEARTH_TEST_COMPILE" not in os.environ,
        reason="two minutes of C++ compiler (MMEARTH_TEST_COMPILE=1)",
    )
    @pytest.mark.skipif(
        not any(shutil.which(name) for name in ("c++", "g++", "clang++")),
        reason="torch.compile needs a C++ compiler",
    )
    def test_compiled_equals_eager(self) -> None:
        self.assert_compiled_is_eager(self.config, "inductor")

    def test_bf16_autocast_stays_within_2_percent(self) -> None:
        model = self.model()
        losses, pulls = self.step(model)
        rough, rough_pulls = self.step(model, autocast=True)
        torch.testing.assert_close(rough, losses, rtol=0.02, atol=0)
        assert rough.dtype == torch.float32
        for name, pull in pulls.items():
            assert torch.isfinite(rough_pulls[name]).all(), name
            cosine = torch.nn.functional.cosine_similarity(
                rough_pulls[name].flatten(), pull.flatten(), dim=0
            )
            assert cosine > 0.95, name

    def test_models_begin_near_a_guess(self) -> None:
        """Initial weights predict almost nothing: the mean, and all classes alike."""
        torch.manual_seed(0)
        model = MpMae(self.config)
        losses, _ = self.step(model)
        for name, loss in zip(self.config.tasks, losses.tolist(), strict=True):
            width = self.config.channels(name)
            categorical = MODALITIES[name].kind == "categorical"
            guess = torch.tensor(float(width)).log().item() if categorical else 1.0
            if categorical or MODALITIES[name].level == "pixel":
                assert loss == pytest.approx(guess, rel=0.05), name

    def test_equal_weighting_learns_no_uncertainty(self) -> None:
        model = MpMae(replace(self.config, weighting="equal"))
        losses, pulls = self.step(model)
        torch.testing.assert_close(model.weights(losses), losses.sum())
        assert not pulls["weights.log_vars_T"].any()
