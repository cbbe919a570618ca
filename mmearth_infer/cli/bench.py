"""`mmearth bench`: engines side by side, on this machine."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from rich.console import Console
from rich.table import Table

from mmearth_infer.cli.options import (
    device_option,
    threads_option,
    trust_option,
    verbosity,
)
from mmearth_infer.engine.choice import ENGINES, choose, every_choice, this_machine
from mmearth_infer.engine.model import BUILTIN, find_model
from mmearth_infer.errors import MissingExtraError
from mmearth_infer.read.demo import DEMO_NAME
from mmearth_infer.run.bench import BenchConfig, Measured, bench

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmearth_infer.engine.choice import Choice, EngineChoice


@click.command(name="bench")
@click.option(
    "--model",
    "models",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Model file; may be given several times. Default: the built-in one.",
)
@click.option(
    "--engine",
    type=click.Choice(["all", "auto", *ENGINES]),
    default="all",
    show_default=True,
    help="All that are installed and run the file, the fastest of them, or one.",
)
@device_option
@click.option(
    "--scene",
    default=DEMO_NAME,
    show_default=True,
    help="Scene whose pixels they run on.",
)
@click.option("--window", "window_px", default=672, show_default=True, metavar="PX")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Tiles a batch.",
)
@click.option(
    "--turns",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Turns of each engine; the median counts.",
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Batches a turn.",
)
@threads_option
@trust_option
@click.option(
    "--chart",
    type=click.Path(path_type=Path),
    metavar="PICTURE.png",
    help="Draw the speeds (needs the `train` extra).",
)
@verbosity
def bench_command(  # noqa: PLR0913 -- one a flag
    *,
    models: tuple[Path, ...],
    engine: str,
    device: str,
    trust_model: bool,
    chart: Path | None,
    quiet: bool,
    **settings: Any,  # noqa: ANN401 -- fields of BenchConfig
) -> None:
    """Measure how fast engines run models on this machine.

    Reading and writing are no part of it. The last line of stdout is JSON.
    """
    found = [find_model(model) for model in models or (BUILTIN,)]
    pairs = _pairs(found, engine, device)
    if chart is not None:
        _check_chart()

    def tell(text: str) -> None:
        if not quiet:
            click.echo(text, err=True)

    config = BenchConfig(trusted=trust_model, **settings)
    rows, peak = bench(pairs, config, tell=tell)
    if not quiet:
        _print(rows, peak)
    if chart is not None:
        _draw(rows, chart)
    said = [dataclasses.asdict(row) for row in rows]
    click.echo(json.dumps({"peak_gflops": peak, "engines": said}))


def _pairs(
    models: Sequence[Path], engine: str, device: str
) -> list[tuple[Path, Choice]]:
    """Return each model with each engine it is measured on."""
    machine = this_machine()
    pairs: list[tuple[Path, Choice]] = []
    for path in models:
        if engine == "all":
            pairs += [
                (path, choice) for choice in every_choice(path.suffix, device, machine)
            ]
        else:
            name = cast("EngineChoice", engine)  # click lets no other through
            pairs.append((path, choose(path.suffix, name, device, machine)))
    return pairs


def _print(rows: Sequence[Measured], peak: float) -> None:
    """Print a table."""
    title = f"matrix product, fp32: {peak:.0f} GFLOP/s"
    table = Table(title=title, box=None, pad_edge=False)
    for name in ("model", "engine", "GRN", "precision"):
        table.add_column(name, no_wrap=True)
    for name in ("Mpx/s", "of peak", "MB", "start s"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            *(row.model, _label(row), row.grn, row.precision),
            *(f"{row.mpx_per_s:.2f}", f"{row.peak_share:.0%}"),
            *(f"{row.memory_mb:.0f}", f"{row.start_s:.1f}"),
        )
    Console(stderr=True).print(table)


def _label(row: Measured) -> str:
    """Return the engine, and the device where it is not the processor."""
    return row.engine if row.device == "cpu" else f"{row.engine}, {row.device}"


def _check_chart() -> None:
    """Refuse to measure for minutes and then not be able to draw."""
    from importlib.util import find_spec  # noqa: PLC0415 -- for this alone

    if find_spec("matplotlib") is None:
        raise MissingExtraError("mmearth bench --chart", extra="train")


def _draw(rows: Sequence[Measured], path: Path) -> None:
    """Draw bars of the speeds."""
    from matplotlib.figure import Figure  # noqa: PLC0415 -- an extra

    from mmearth_infer.disk import file_beside  # noqa: PLC0415 -- for this alone

    figure = Figure(figsize=(8, 1 + 0.45 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    labels = [f"{row.model}\n{_label(row)}" for row in rows]
    bars = axes.barh(labels, [row.mpx_per_s for row in rows], color="#3b6ea5")
    axes.bar_label(bars, [f"{row.mpx_per_s:.2f}" for row in rows], padding=3)
    axes.invert_yaxis()
    axes.set_xlabel("Mpx/s")
    axes.spines[["top", "right"]].set_visible(False)
    with file_beside(path) as aside:
        figure.savefig(aside, format="png", dpi=150)
