"""How a run stands: losses on held-out tiles beside the trivial predictor's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmearth_training.curves import draw_losses, draw_uncertainties
from mmearth_training.data.loader import held_out
from mmearth_training.history import Record, read_history
from mmearth_training.losses import names_of
from mmearth_training.model.blocks import grn_alone
from mmearth_training.plots import draw_reconstructions, save_figure
from mmearth_training.reconstruct import reconstruct
from mmearth_training.trivial import fit_trivial, trivial_losses

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mmearth_training.data.batch import Batch
    from mmearth_training.data.loader import SampleSource
    from mmearth_training.history import Split
    from mmearth_training.model.mpmae import MpMae
    from mmearth_training.run import RunConfig
    from mmearth_training.step import Losses, Trainer
    from mmearth_training.watch import Watch

TRIVIAL_TILES = 1024
"""Training tiles that the trivial predictor is fitted to, at most."""

PICTURED_TILES = 3
"""Held-out tiles that are drawn."""


class Judge:
    """Compares the model with the trivial predictor on held-out tiles."""

    def __init__(
        self, config: RunConfig, samples: SampleSource, trainer: Trainer
    ) -> None:
        """Keep what is compared; the trivial predictor is fitted when first needed."""
        self._config, self._samples, self._trainer = config, samples, trainer
        self._rows = samples.folder.splits["val"]
        self.able = bool(self._rows)
        """Whether there is anything to validate on."""
        self._trivial: dict[str, float] | None = None

    def __call__(self, step: int, epoch: float) -> Record:
        """Return the losses on held-out tiles."""
        losses = self._trainer.validate(self._batches(self._rows))
        if self._trivial is None:
            model = self._trainer.model
            rows = self._samples.folder.splits["train"][:TRIVIAL_TILES]
            said = fit_trivial(model, self._batches(rows))
            self._trivial = trivial_losses(model, said, self._batches(self._rows))
        return make_record(
            self._trainer.model, step, epoch, "val", losses, self._trivial
        )

    def draw(self, watch: Watch, step: int) -> None:
        """Draw reconstructions and curves into the run's folder."""
        folder = self._config.out / "plots"
        folder.mkdir(exist_ok=True)
        rows = self._rows[:: max(1, len(self._rows) // PICTURED_TILES)]
        keys = held_out(rows[:PICTURED_TILES], PICTURED_TILES)
        (batch,) = self._samples.batches(keys, workers=0)
        model, device = self._trainer.model, self._trainer.world.device
        with grn_alone(model):  # the other processes do not draw
            samples = reconstruct(
                model, batch.to(device), bands=self._config.recipe.bands
            )
        history = read_history(self._config.history)
        figures = {"losses": draw_losses(history)}
        if samples[0]:
            figures["reconstructions"] = draw_reconstructions(samples)
        if self._config.recipe.loss.weighting == "uncertainty":
            figures["uncertainties"] = draw_uncertainties(history)
        for name, figure in figures.items():
            save_figure(figure, folder / f"{name}.png")
            watch.picture(name, figure, step)

    def _batches(self, rows: tuple[int, ...]) -> Iterator[Batch]:
        keys = held_out(rows, self._config.recipe.optim.micro_batch)
        return self._samples.batches(keys, workers=self._config.workers)


def make_record(  # noqa: PLR0913, PLR0917 -- one a field
    model: MpMae,
    step: int,
    epoch: float,
    split: Split,
    losses: Losses,
    trivial: Mapping[str, float],
) -> Record:
    """Return what was measured at a step."""
    learnt = model.weights.weighting == "uncertainty"
    log_vars = names_of(model.weights.log_vars_T.detach(), model.config.tasks)
    return Record(
        step=step,
        epoch=epoch,
        split=split,
        loss=losses.total,
        losses=losses.tasks,
        log_vars=log_vars if learnt else {},
        trivial=trivial,
    )
