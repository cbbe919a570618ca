"""Entry point of `mmearth`: finds commands, prints errors and warnings."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

import click

from mmearth_infer.errors import MissingExtraError, MMEarthError

if TYPE_CHECKING:
    from typing import Any

COMMANDS: Final = "mmearth.commands"
"""Entry-point group; each package of the family adds its own commands."""

SUMMARIES: Final = {
    "batch": "Embed or map many scenes, on one machine or a cluster.",
    "bench": "Measure how fast engines run models on this machine.",
    "cog": "Write a store as a Cloud Optimized GeoTIFF.",
    "embed": "Embed a Sentinel-2 scene into a georeferenced Zarr store.",
    "evaluate": "Evaluate encoders on a benchmark, as the MMEarth paper does.",
    "export": "Turn a checkpoint into a verified model file.",
    "finetune": "Fine-tune a segmentation model on images with labels.",
    "info": "Explain a model, a probe, a scene or a store.",
    "make-dataset": "Cut scenes into a small data set to train on.",
    "models": "List models that have a name, and get published ones.",
    "pack": "Rewrite a published data set so that it reads fast.",
    "pool": "Write one mean vector for each square of a store.",
    "pretrain": "Pretrain an encoder as a multi-pretext masked autoencoder.",
    "probe": "Tell classes apart in the embeddings of stores.",
    "segment": "Map the classes of a Sentinel-2 scene.",
    "stac": "Write a STAC item beside a store.",
    "view": "Draw a store as a picture.",
}
"""First line of each command's help, so that listing imports none (tested equal)."""

EXTRAS: Final = {
    "batch": "dask",
    "bench": "cpu",
    "embed": "cpu",
    "evaluate": "train",
    "finetune": "train",
    "info": "cpu",
    "make-dataset": "train",
    "pack": "train",
    "pool": "view",
    "pretrain": "train",
    "segment": "cpu",
}
"""The extra a command needs, where it is not called like the command."""


class LazyGroup(click.Group):
    """A group that imports a command only when it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names from the package metadata, without importing anything."""
        return sorted(entry.name for entry in entry_points(group=COMMANDS))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the one command that was asked for."""
        found = entry_points(group=COMMANDS, name=cmd_name)
        if not found:
            return None
        (entry,) = found
        try:
            command: click.Command = entry.load()
        except ModuleNotFoundError as error:
            if error.name and error.name.startswith("mmearth"):
                raise
            extra = EXTRAS.get(cmd_name, cmd_name)
            raise MissingExtraError(f"mmearth {cmd_name}", extra=extra) from error
        return command

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """List names with their summaries: help texts would import every command."""
        rows = [(name, SUMMARIES.get(name, "")) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Turn an expected error into two lines and exit code 1."""
        _log_to_stderr()
        try:
            return super().main(*args, **kwargs)
        except MMEarthError as error:
            click.echo(f"error: {error}", err=True)
            if error.hint:
                click.echo(f"hint: {error.hint}", err=True)
            sys.exit(1)


class _EchoHandler(logging.Handler):
    """Prints log records as `warning: ...`, as errors are printed."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record on stderr."""
        click.echo(f"{record.levelname.lower()}: {record.getMessage()}", err=True)


def _log_to_stderr() -> None:
    """Show our own warnings, and keep GDAL's from standing beside our errors."""
    ours = logging.getLogger("mmearth")
    if not ours.handlers:
        ours.addHandler(_EchoHandler())
        ours.propagate = False
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mmearth-infer", message="%(prog)s %(version)s")
def cli() -> None:
    """Train, export and run Sentinel-2 encoders.

    `mmearth COMMAND --help` explains a command.
    """
