"""MP-MAE against golden outputs of the published code, and its rules for what is
missing.
"""

import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from mmearth_infer.errors import MissingExtraError, ModelError
from mmearth_training.losses import mean_error
from mmearth_training.modalities import MODALITIES, SETS
from mmearth_training.model.decoder import DecoderConfig
from mmearth_training.model.encoder import SIZES, EncoderConfig
from mmearth_training.model.mpmae import MpMae, MpMaeConfig
from mmearth_training.model.sparse import BackendName, open_backend
from mmearth_training.published_pretraining import (
    mpmae_state,
    published_decoders,
    published_tasks,
)
from tests.helpers.data import GOLDEN, needs_golden
from tests.helpers.golden import golden_batch, golden_state
from tests.helpers.pretraining import (
    BACKEND_CASES,
    gradients,
    needs_minkowski,
    plain_predictions,
    random_batch,
    random_mask,
    randomise,
    relative,
    small_config,
)

COMPATIBLE = MpMaeConfig(
    encoder=EncoderConfig(size=SIZES["atto"], grn="batch", grn_eps=1e-6),
    decoder=DecoderConfig(decoders="shared", pooling="all", image_norm=True),
    tasks=SETS["all"],
    missing_as_mean=True,
)
"""What the published code computes."""

PARAMETERS = {
    "encoder.initial_conv.0.kernel": "encoder.initial_conv.0.weight",
    "encoder.stages.0.0.dwconv.kernel": "encoder.stages.0.0.dwconv.weight",
    "encoder.stages.2.3.grn.gamma": "encoder.stages.2.3.grn.gamma",
    "proj.weight": "decoder.proj.weight",
    "mask_token": "decoder.mask_token",
}
"""Parameters whose gradient norm is golden, by their published name."""

SHARED = ("decoder_dict.sentinel2.0.dwconv.weight", "decoder.blocks.shared")


@cache
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "pretrain_atto_patch16.npz"))


def published_model(backend: BackendName = "sites") -> MpMae:
    model = MpMae(COMPATIBLE, backend=backend)
    model.load_state_dict(mpmae_state(golden_state()))
    return model


@needs_golden
@pytest.mark.parametrize("backend", BACKEND_CASES)
def test_golden_losses_and_gradients_of_the_published_code(
    backend: BackendName,
) -> None:
    """Encoder map, every loss, their sum, every gradient norm, to 1e-5 relative."""
    model = published_model(backend)
    x, targets, mask = golden_batch()
    with torch.no_grad():
        encoded = model.encoded_map(x, mask)
    assert relative(encoded, torch.from_numpy(golden()["encoder"])) < 1e-5
    losses = mean_error(*model(x, targets, mask))
    loss = model.weights(losses)
    loss.backward()
    assert loss.item() == pytest.approx(float(golden()["loss"]), rel=1e-5)
    for name, ours in zip(COMPATIBLE.tasks, losses.tolist(), strict=True):
        assert ours == pytest.approx(float(golden()[f"loss.{name}"]), rel=1e-5), name
    names = {**PARAMETERS, SHARED[0]: f"{SHARED[1]}.dwconv.weight"}
    assert {f"grad_norm.{name}" for name in names} == {
        key for key in golden() if key.startswith("grad_norm.")
    }
    for theirs, ours in names.items():
        norm = gradients(model)[ours].norm().item()
        assert norm == pytest.approx(float(golden()[f"grad_norm.{theirs}"]), rel=1e-5)


@needs_golden
def test_golden_predictions_of_the_published_code() -> None:
    """Mean and deviation over all patches, from the plain order of the decoder.

    Ours computes hidden patches only; test_decoder.py says that they are the same.
    """
    model = published_model()
    x, _, mask = golden_batch()
    with torch.inference_mode():
        rows = model.encode(model.encoder, x, mask)
        plain = plain_predictions(model.decoder, rows, mask)
        ours = model.predict(x, mask)
    for name in COMPATIBLE.tasks:
        shown = [plain] if MODALITIES[name].level == "pixel" else [plain, ours]
        for predictions in shown:
            values = predictions[name].double()
            mean, std = (float(golden()[f"pred_{m}.{name}"]) for m in ("mean", "std"))
            assert values.std().item() == pytest.approx(std, rel=1e-4), name
            assert values.mean().item() == pytest.approx(mean, abs=1e-5 * std), name


@needs_golden
class TestPublished:
    """State dicts of the published code."""

    def test_decoders_with_equal_tensors_are_shared(self) -> None:
        state = golden_state()
        assert published_tasks(state) == SETS["all"]
        assert published_decoders(state) == "shared"

    @pytest.mark.parametrize("task", ["sentinel1", "esa_worldcover"])
    def test_decoders_are_separate_when_one_tensor_differs(self, task: str) -> None:
        state = golden_state()
        state[f"decoder_dict.{task}.0.pwconv2.bias"][7] += 1
        assert published_decoders(state) == "separate"
        separate = replace(
            COMPATIBLE, decoder=replace(COMPATIBLE.decoder, decoders="separate")
        )
        model = MpMae(separate)
        model.load_state_dict(mpmae_state(state))
        differing, alike = (
            model.decoder.blocks[name].pwconv2.bias for name in (task, "sentinel2")
        )
        assert (differing - alike).count_nonzero() == 1

    def test_separate_decoders_with_equal_weights_give_the_golden_losses(self) -> None:
        separate = replace(
            COMPATIBLE, decoder=replace(COMPATIBLE.decoder, decoders="separate")
        )
        model = MpMae(separate)
        state = mpmae_state(golden_state())
        prefix = f"{SHARED[1]}."
        for key in [key for key in state if key.startswith(prefix)]:
            value = state.pop(key)
            for name in separate.tasks:
                state[key.replace("shared", name)] = value
        model.load_state_dict(state)
        with torch.inference_mode():
            loss = model.weights(mean_error(*model(*golden_batch())))
        assert loss.item() == pytest.approx(float(golden()["loss"]), rel=1e-5)

    def test_an_encoder_alone_is_no_pretraining_checkpoint(self) -> None:
        state = {k: v for k, v in golden_state().items() if k.startswith("encoder.")}
        with pytest.raises(ModelError, match="no decoder heads"):
            mpmae_state(state)


class TestMissing:
    """Targets that are not there, by the rule of ours."""

    config = small_config()
    mask = random_mask(2, 3, 3)

    def model(self, **changes: object) -> MpMae:
        model = MpMae(replace(self.config, **changes))  # type: ignore[arg-type]
        randomise(model)
        return model

    def run(
        self, model: MpMae, targets: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x, _ = random_batch(self.config, self.mask)
        totals, counts = model(x, targets, self.mask)
        return totals, counts

    def test_counts_are_of_hidden_values_that_are_there(self) -> None:
        _, targets = random_batch(self.config, self.mask)
        hidden_px = 2 * 6 * 8 * 8
        _, counts = self.run(self.model(), targets)
        for name, count in zip(self.config.tasks, counts.tolist(), strict=True):
            task = MODALITIES[name]
            width = 1 if task.kind == "categorical" else self.config.channels(name)
            assert count == width * (hidden_px if task.level == "pixel" else 2), name

    def test_a_missing_channel_moves_nothing_of_its_head(self) -> None:
        model = self.model()
        _, targets = random_batch(self.config, self.mask)
        targets["sentinel1"][:, 4:] = torch.nan
        targets["era5"][:, 3] = torch.nan
        totals, counts = self.run(model, targets)
        model.weights(mean_error(totals, counts)).backward()
        by_channel = {
            name: model.decoder.heads[name].weight.grad.unflatten(0, (-1, width))
            for name, width in (("sentinel1", 8), ("era5", 12))
        }
        assert not by_channel["sentinel1"][:, 4:].any()
        assert by_channel["sentinel1"][:, :4].all()
        assert not by_channel["era5"][:, 3].any()
        assert by_channel["era5"][:, :3].all()

    def test_values_under_visible_patches_change_nothing(self) -> None:
        _, targets = random_batch(self.config, self.mask)
        _, others = random_batch(self.config, self.mask, seed=1)
        visible = self.mask.visible_map(8).bool()
        for name, target in targets.items():
            if MODALITIES[name].level == "pixel":
                where = visible if target.ndim == 4 else visible[:, 0]
                others[name] = torch.where(where, others[name], target)
            else:
                others[name] = target
        ours, theirs = (self.run(self.model(), each) for each in (targets, others))
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])

    def test_the_errors_of_missing_values_are_left_out(self) -> None:
        """Total of all values = total without some + total of those some."""
        _, targets = random_batch(self.config, self.mask)
        some = torch.rand(2, 8, 24, 24) < 0.3
        row = self.config.tasks.index("sentinel1")
        parts = [
            self.run(
                self.model(),
                {**targets, "sentinel1": targets["sentinel1"].masked_fill(left, nan)},
            )
            for left in (torch.zeros_like(some), some, ~some)
            for nan in (torch.nan,)
        ]
        totals, counts = ([part[i][row] for part in parts] for i in (0, 1))
        torch.testing.assert_close(totals[0], totals[1] + totals[2])
        assert counts[0] == counts[1] + counts[2]
        assert 0 < counts[1] < counts[0]

    def test_compatibility_counts_missing_pixels_as_the_mean(self) -> None:
        _, targets = random_batch(self.config, self.mask)
        some = torch.rand(2, 8, 24, 24) < 0.3
        zero, nan = (
            self.run(
                self.model(missing_as_mean=True),
                {**targets, "sentinel1": targets["sentinel1"].masked_fill(some, value)},
            )
            for value in (0.0, torch.nan)
        )
        assert torch.equal(zero[0], nan[0])
        assert torch.equal(zero[1], nan[1])

    @pytest.mark.parametrize("name", SETS["all"])
    def test_a_task_without_targets_learns_nothing(self, name: str) -> None:
        model = self.model()
        _, targets = random_batch(self.config, self.mask)
        categorical = MODALITIES[name].kind == "categorical"
        targets[name] = torch.full_like(targets[name], -1 if categorical else torch.nan)
        totals, counts = self.run(model, targets)
        losses = mean_error(totals, counts)
        model.weights(losses).backward()
        row = self.config.tasks.index(name)
        assert counts[row] == 0
        assert losses[row] == 0
        moved = model.weights.log_vars_T.grad != 0
        assert not moved[row]
        assert moved.sum() == len(self.config.tasks) - 1
        moves = {key: bool(value.any()) for key, value in gradients(model).items()}
        assert not any(moves[key] for key in moves if f".{name}." in key)
        assert all(torch.isfinite(value).all() for value in gradients(model).values())


@pytest.mark.parametrize("tasks", ["s2", "image", "pixel"])
def test_sets_of_tasks_have_their_heads_only(tasks: str) -> None:
    config = small_config(tasks=SETS[tasks])
    mask = random_mask(1, 2, 1)
    model = MpMae(config)
    x, targets = random_batch(config, mask)
    totals, counts = model(x, targets, mask)
    assert tuple(model.decoder.heads) == SETS[tasks]
    assert totals.shape == counts.shape == (len(SETS[tasks]),)
    assert (totals > 0).all()


@needs_minkowski
def test_minkowski_opens_without_a_warning() -> None:
    assert open_backend("minkowski").__name__ == "encode_minkowski"


def test_minkowski_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mmearth_training.model.minkowski", raising=False)
    monkeypatch.setitem(sys.modules, "MinkowskiEngine", None)
    with pytest.raises(MissingExtraError, match="backend minkowski") as caught:
        open_backend("minkowski")
    assert "docs/guides/minkowski.md" in str(caught.value.hint)
