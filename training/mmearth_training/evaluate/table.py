"""One table of everything, in Markdown: the paper's rows, then ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mmearth_training.data.geobench.folder import DEFAULT_PARTITION
from mmearth_training.data.geobench.tasks import TASKS
from mmearth_training.evaluate.published import PUBLISHED
from mmearth_training.evaluate.scores import METRIC, METRIC_NAMES
from mmearth_training.evaluate.settings import MODES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mmearth_training.evaluate.published import Column
    from mmearth_training.evaluate.results import Result

_MODE_NAMES: Final = {"lp": "LP", "ft": "FT", "elp": "extended LP", "seg": "U-Net"}
_NONE: Final = "-"
_BEST_OF: Final = 2
_MOST_OFF: Final = 0.05
_LEGEND: Final = (
    "*paper*: Nedungadi et al. 2024, ConvNeXt V2 atto. *majority*: a model that says "
    "of every image how often each class occurs among those to train on."
)


def make_table(results: Sequence[Result], *, statistics: str) -> str:
    """Return a page with a table of each partition, percent to one decimal.

    Columns are what was evaluated; figures of the paper stand where it has some.
    The best of our own models is bold where there are several.

    Args:
        results: Finished cells.
        statistics: What standardised the input.

    """
    partitions = sorted(
        {one.partition for one in results},
        key=lambda name: (name != DEFAULT_PARTITION, name),
    )
    page = ["# GEO-Bench, as in the MMEarth paper", ""]
    for partition in partitions:
        page += _partition(
            [one for one in results if one.partition == partition], partition
        )
    page += [
        f"Input statistics: {statistics}. Test split, last epoch, percent.",
        "",
        _LEGEND,
        "",
    ]
    return "\n".join(page)


def _partition(results: Sequence[Result], partition: str) -> list[str]:
    """Return heading and table of one partition."""
    seen: set[Column] = {(one.task, one.mode) for one in results}
    columns = [(task, mode) for task in TASKS for mode in MODES if (task, mode) in seen]
    heads = [
        f"{task}<br>{METRIC_NAMES[METRIC[TASKS[task].kind]]}, {_MODE_NAMES[mode]}"
        for task, mode in columns
    ]
    rows = []
    compared = partition in {DEFAULT_PARTITION, "1.00x_train"}
    if compared:
        rows += [
            [f"*paper* {name}", *(_figure(figures.get(c)) for c in columns)]
            for name, figures in PUBLISHED.items()
            if any(column in figures for column in columns)
        ]
    floor = {(one.task, one.mode): one.majority for one in results}
    rows.append(["*majority*", *(_figure(_percent(floor.get(c))) for c in columns)])
    cells: dict[tuple[str, str, str], float] = {
        (one.model, one.task, one.mode): 100 * one.value for one in results
    }
    models = list(dict.fromkeys(one.model for one in results))
    for model in models:
        values = [cells.get((model, *column)) for column in columns]
        rows.append(
            [
                model.replace("|", "\\|"),
                *(
                    f"**{_figure(v)}**" if _best(v, cells, c, models) else _figure(v)
                    for v, c in zip(values, columns, strict=True)
                ),
            ]
        )
    lines = [["", *heads], ["---", *("---:" for _ in columns)], *rows]
    samples = {one.task: one.samples["train"] for one in results}
    others = [
        f"{task} ({count} of {TASKS[task].samples[0]})"
        for task, count in samples.items()
        if abs(count / TASKS[task].samples[0] - 1) > _MOST_OFF
    ]
    note = f"Other samples than in the paper: {', '.join(others)}."
    counts = ", ".join(f"{task} {count}" for task, count in samples.items())
    return [
        f"## {partition}",
        "",
        *(f"| {' | '.join(line)} |" for line in lines),
        "",
        f"Samples to train on: {counts}.",
        "",
        *([note, ""] if others and compared else []),
    ]


def _best(
    value: float | None,
    cells: Mapping[tuple[str, str, str], float],
    column: Column,
    models: Sequence[str],
) -> bool:
    """Tell whether a value is the best of several in its column."""
    others = [cells[(m, *column)] for m in models if (m, *column) in cells]
    return len(others) >= _BEST_OF and value == max(others)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _figure(value: float | None) -> str:
    return _NONE if value is None else f"{value:.1f}"
