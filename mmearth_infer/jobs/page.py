"""The report of a job as one page for a browser, which needs nothing else.

Names and reasons come from files and libraries: all of it is escaped, and the page
forbids itself scripts and anything from the network.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from jinja2 import Environment, StrictUndefined

from mmearth_infer.disk import Kind, check_output, file_beside
from mmearth_infer.jobs.page_map import Placed, draw_map

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mmearth_infer.jobs.page_map import Map
    from mmearth_infer.jobs.report import JobReport
    from mmearth_infer.jobs.scene_task import Outcome

TEMPLATE: Final = "page.html.j2"
"""The page, without what became of a job."""

MOST_ROWS: Final = 1000
"""Rows of a table; a line below it says how many more there are."""

MOST_NAMES: Final = 20
"""Names in a line that counts them."""

GENERATOR: Final = '<meta name="generator" content="mmearth batch">'
"""What tells our pages from others; it stands near their beginning."""

_CONTROLS: Final = dict.fromkeys(
    [*range(9), 11, 12, *range(14, 32), *range(127, 160)], "\N{REPLACEMENT CHARACTER}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """What a worker did."""

    worker: str
    """Its machine and process."""

    scenes: int
    """Scenes that it computed, or parts of them."""

    megapixels_per_s: float
    """Pixels that it computed in a second, in millions."""

    share: float
    """Share of the time of all workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningRow:
    """A warning, said once."""

    text: str
    """What is to be known."""

    scenes: tuple[str, ...]
    """Of which scenes."""


def is_our_page(path: Path) -> bool:
    """Tell whether a file is a page that this module wrote."""
    try:
        with path.open("rb") as file:
            return GENERATOR.encode() in file.read(1024)
    except OSError:
        return False


PAGE: Final = Kind("page of a report", is_our_page)
"""What may be replaced."""


def check_page(path: Path) -> None:
    """Refuse early to replace a page of somebody else.

    Raises:
        StoreError: If one is there.

    """
    check_output(path, PAGE, overwrite=True)


def write_page(
    path: Path,
    report: JobReport,
    *,
    retry: str | None = None,
    when: datetime | None = None,
) -> None:
    """Write the page of a report, in place of an earlier one.

    Args:
        path: Where it goes.
        report: What the job did.
        retry: The command that runs what failed; None for that of a job file beside
            the page.
        when: Of when the report is; None for now.

    Raises:
        StoreError: If the page of somebody else is there, or the disk does not take it.

    """
    check_page(path)
    retry = retry or f"mmearth batch {report.job}.toml --only-failed"
    text = page(report, retry=retry, when=when or datetime.now(tz=UTC))
    with file_beside(path) as aside:
        aside.write_bytes(text.encode(errors="replace"))


def page(report: JobReport, *, retry: str, when: datetime) -> str:
    """Return the page of a report.

    Args:
        report: What the job did.
        retry: The command that runs what failed.
        when: Of when the report is.

    """
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = files("mmearth_infer.jobs").joinpath(TEMPLATE).read_text("utf-8")
    outcomes = report.outcomes
    ratios = [one.seams for one in outcomes if one.seams is not None]
    return environment.from_string(template).render(
        report=report,
        retry=retry,
        when=when.astimezone(UTC),
        generator=GENERATOR,
        duration=duration(report.elapsed_s),
        map=_map(outcomes),
        unplaced=[one.name for one in outcomes if not _is_placed(one)],
        failures=report.failed,
        warnings=_warnings(outcomes),
        workers=_workers(report),
        seams=sorted(
            (one for one in outcomes if one.seams is not None),
            key=lambda one: -(one.seams or 0),
        ),
        median_seams=statistics.median(ratios) if ratios else None,
        most_rows=MOST_ROWS,
        most_names=MOST_NAMES,
    )


def duration(elapsed_s: float) -> str:
    """Return a time as people say it.

    >>> duration(0.42), duration(75), duration(7384)
    ('0.4 s', '1 min 15 s', '2 h 03 min')
    """
    if elapsed_s < 60:  # noqa: PLR2004 -- a minute
        return f"{elapsed_s:.1f} s"
    minutes, seconds = divmod(round(elapsed_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def _plain(value: object) -> object:
    """Return text without characters that no page may hold."""
    return value.translate(_CONTROLS) if isinstance(value, str) else value


def _is_placed(one: Outcome) -> bool:
    """Tell whether a scene can be drawn."""
    points = one.footprint or ()
    return bool(points) and all(map(math.isfinite, sum(points, ())))


def _map(outcomes: Sequence[Outcome]) -> Map | None:
    """Draw the scenes whose place is known; None if there are none."""
    placed = [
        Placed(name=one.name, state=one.state, outline=one.footprint)
        for one in outcomes
        if one.footprint and _is_placed(one)
    ]
    return draw_map(placed) if placed else None


def _warnings(outcomes: Sequence[Outcome]) -> list[WarningRow]:
    """Return each warning once, those of most scenes first."""
    scenes: dict[str, list[str]] = {}
    for one in outcomes:
        for text in one.warnings:
            scenes.setdefault(text, []).append(one.name)
    rows = [WarningRow(text=text, scenes=tuple(of)) for text, of in scenes.items()]
    return sorted(rows, key=lambda row: -len(row.scenes))


def _workers(report: JobReport) -> list[WorkerRow]:
    """Return what each worker did, the busiest first."""
    scenes: dict[str, int] = {}
    elapsed_s: dict[str, float] = {}
    for one in report.outcomes:
        for worker in {work.worker for work in one.work}:
            scenes[worker] = scenes.get(worker, 0) + 1
        for work in one.work:
            elapsed_s[work.worker] = elapsed_s.get(work.worker, 0) + work.elapsed_s
    whole_s = sum(elapsed_s.values())
    rows = [
        WorkerRow(
            worker=worker,
            scenes=scenes[worker],
            megapixels_per_s=rate,
            share=elapsed_s[worker] / whole_s,
        )
        for worker, rate in report.workers.items()
    ]
    return sorted(rows, key=lambda row: -row.share)
