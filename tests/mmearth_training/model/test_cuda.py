"""What is computed on a CPU is computed on CUDA: golden values, backends, samples."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import torch

from mmearth_infer.errors import TrainingError
from mmearth_training.config import changed
from mmearth_training.data.augment import Augment, Looks
from mmearth_training.data.chance import About
from mmearth_training.data.draws import Key
from mmearth_training.data.folder import open_folder
from mmearth_training.history import read_history
from mmearth_training.loop import open_samples, pretrain
from mmearth_training.losses import mean_error
from mmearth_training.model.encoder import SIZES, Encoder, EncoderConfig
from mmearth_training.model.mpmae import MpMae
from mmearth_training.model.sparse import open_backend
from tests.helpers.data import needs_golden
from tests.helpers.golden import golden_batch
from tests.helpers.pretraining import (
    gradients,
    random_batch,
    random_mask,
    randomise,
    relative,
    small_config,
)
from tests.mmearth_training.model.test_mpmae import golden, published_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mmearth_training.config import Recipe
    from mmearth_training.model.masking import Mask
    from mmearth_training.model.sparse import BackendName
    from mmearth_training.run import RunConfig

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="PyTorch finds no CUDA device"
)

CUDA = torch.device("cuda")


@contextmanager
def full_precision() -> Iterator[None]:
    """Keep convolutions from rounding their input to TF32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def on_cuda(mask: Mask) -> Mask:
    return type(mask)(mask.visible_NV.to(CUDA), mask.hidden_NU.to(CUDA))


@needs_golden
@pytest.mark.parametrize("backend", ["dense", "sites"])
def test_golden_losses_of_the_published_code(backend: BackendName) -> None:
    """Encoder map, every loss and their sum, to 1e-4 relative."""
    model = published_model(backend).to(CUDA)
    x, targets, mask = golden_batch()
    x, mask = x.to(CUDA), on_cuda(mask)
    targets = {name: value.to(CUDA) for name, value in targets.items()}
    with full_precision():
        encoded = model.encoded_map(x, mask)
        losses = mean_error(*model(x, targets, mask))
    expected = torch.from_numpy(golden()["encoder"])
    assert relative(encoded.cpu(), expected) < 1e-4
    total = model.weights(losses).item()
    assert total == pytest.approx(float(golden()["loss"]), rel=1e-4)
    for name, ours in zip(model.config.tasks, losses.tolist(), strict=True):
        assert ours == pytest.approx(float(golden()[f"loss.{name}"]), rel=1e-4), name


@pytest.mark.parametrize("backend", ["dense", "sites"])
def test_rows_and_gradients_are_those_of_the_cpu(backend: BackendName) -> None:
    config = EncoderConfig(size=SIZES["atto"], grn="batch", grn_eps=1e-6)
    encoder = Encoder(config)
    randomise(encoder)
    mask = random_mask(3, 7, 19)
    x = torch.randn(3, 12, 112, 112, generator=torch.Generator().manual_seed(0))
    results = []
    for device in (torch.device("cpu"), CUDA):
        encoder.to(device).zero_grad()
        there = mask if device.type == "cpu" else on_cuda(mask)
        with full_precision():
            rows = open_backend(backend)(encoder, x.to(device), there)
            rows.square().mean().backward()
        pulls = {name: pull.cpu().clone() for name, pull in gradients(encoder).items()}
        results.append((rows.detach().cpu(), pulls))
    (rows, pulls), (cuda_rows, cuda_pulls) = results
    assert relative(cuda_rows, rows) < 1e-3
    for name, pull in pulls.items():
        assert relative(cuda_pulls[name], pull) < 1e-2, name


def test_a_step_of_all_tasks_in_bf16_is_near_that_in_fp32() -> None:
    model = MpMae(small_config())
    randomise(model)
    model.to(CUDA)
    mask = random_mask(4, 7, 19)
    x, targets = random_batch(model.config, mask)
    targets = {name: value.to(CUDA) for name, value in targets.items()}
    x, mask = x.to(CUDA), on_cuda(mask)
    losses = {}
    for enabled in (False, True):
        with torch.autocast("cuda", torch.bfloat16, enabled=enabled):
            losses[enabled] = mean_error(*model(x, targets, mask))
    torch.testing.assert_close(losses[True], losses[False], rtol=0.05, atol=0.05)


def test_draws_are_the_same_on_every_device() -> None:
    keys = [Key(row=row, epoch=row * 977) for row in range(100)]
    drawn = [
        Looks.of(keys, seed=5, device=torch.device(name)).draw(About.MASK, 49).cpu()
        for name in ("cpu", "cuda")
    ]
    assert torch.equal(*drawn)


def test_samples_are_the_same_on_every_device(
    small_data: Path, small_recipe: Recipe, run_config: Callable[..., RunConfig]
) -> None:
    """Masks to the bit, pixels to the rounding of coordinates."""
    recipe = changed(
        small_recipe,
        data={"loader": "resident"},
        augment={"turn": True, "zoom": (0.7, 1.1), "gain": 0.2, "band_gain": 0.1},
    )
    assert recipe.augment.settings() != Augment()
    keys = [[Key(row=row, epoch=3) for row in range(8)]]
    here, there = (
        next(
            open_samples(
                run_config(recipe=recipe), open_folder(small_data), torch.device(name)
            ).batches(iter(keys), workers=0)
        )
        for name in ("cpu", "cuda")
    )
    assert there.x_NBhw.device.type == "cuda"
    assert torch.equal(here.visible_NV, there.visible_NV.cpu())
    torch.testing.assert_close(there.x_NBhw.cpu(), here.x_NBhw, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("loader", ["workers", "resident"])
def test_a_run_on_cuda_goes_on_where_it_was_interrupted(
    small_recipe: Recipe,
    run_config: Callable[..., RunConfig],
    loader: str,
) -> None:
    recipe = changed(small_recipe, data={"loader": loader})
    fields = {"recipe": recipe, "device": "cuda", "precision": "bf16"}
    pretrain(run_config("a", **fields), quiet=True)
    pretrain(run_config("b", stop_after=2, **fields), quiet=True)
    done = pretrain(run_config("b", resume=True, **fields), quiet=True)
    assert done.step == 4
    whole, parts = (
        [
            one.loss
            for one in read_history(run_config(name).history)
            if one.split == "train"
        ]
        for name in "ab"
    )
    assert parts == pytest.approx(whole, rel=0.02)


def test_a_loss_that_is_not_finite_stops_a_run_on_cuda(
    small_recipe: Recipe, run_config: Callable[..., RunConfig]
) -> None:
    recipe = changed(small_recipe, optim={"base_lr": 1e30})
    with pytest.raises(TrainingError, match="not finite"):
        pretrain(run_config(recipe=recipe, device="cuda"), quiet=True)
