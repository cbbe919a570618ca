"""What a job did: one file beside the job, which the next run learns from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from mmearth_infer.disk import file_beside
from mmearth_infer.errors import JobError
from mmearth_infer.jobs.scene_task import Outcome  # noqa: TC001 -- msgspec reads it

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mmearth_infer.jobs.scene_task import State


class JobReport(Struct, frozen=True, kw_only=True):
    """What became of every scene of a job, this time or before."""

    job: str
    """What the job is called."""

    task: str
    """What was run over each scene."""

    model: str
    """The model file."""

    worker_deaths: int
    """Workers that died under way."""

    elapsed_s: float
    """Wall time of the last run."""

    outcomes: tuple[Outcome, ...]
    """Every scene that was run, in the order of the job."""

    mosaics: tuple[Outcome, ...] = ()
    """Mosaics of the last run."""

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """Scenes and mosaics that are not there."""
        return tuple(
            one for one in (*self.outcomes, *self.mosaics) if one.state == "failed"
        )

    def names(self, state: State) -> tuple[str, ...]:
        """Return the names of the scenes in a state."""
        return tuple(one.name for one in self.outcomes if one.state == state)

    @property
    def counts(self) -> dict[State, int]:
        """How many scenes are in which state."""
        states: tuple[State, ...] = ("done", "complete", "failed")
        return {state: len(self.names(state)) for state in states}

    @property
    def megapixels_per_s(self) -> float | None:
        """Pixels that a worker computed in a second, in millions; None of nothing."""
        made = [one for one in self.outcomes if one.state == "done"]
        elapsed_s = sum(one.elapsed_s for one in made)
        return sum(one.pixels for one in made) / 1e6 / elapsed_s if elapsed_s else None

    @property
    def workers(self) -> dict[str, float]:
        """Pixels that each worker computed in a second, in millions."""
        pixels: dict[str, int] = {}
        elapsed_s: dict[str, float] = {}
        for work in (work for one in self.outcomes for work in one.work):
            pixels[work.worker] = pixels.get(work.worker, 0) + work.pixels
            elapsed_s[work.worker] = elapsed_s.get(work.worker, 0) + work.elapsed_s
        return {worker: n / 1e6 / elapsed_s[worker] for worker, n in pixels.items()}

    def to_json(self) -> str:
        """Return it as one line of JSON, with what follows from it."""
        said = {
            **msgspec.to_builtins(self),
            "counts": self.counts,
            "megapixels_per_s": self.megapixels_per_s,
            "megapixels_per_s_of_workers": self.workers,
        }
        return msgspec.json.encode(said).decode()


def report_path(job: Path) -> Path:
    """Return where the report of a job lies."""
    return job.with_suffix(".report.json")


def page_path(job: Path) -> Path:
    """Return where the page about a job lies."""
    return job.with_suffix(".report.html")


def write_report(path: Path, report: JobReport) -> None:
    """Write a report, in place of an earlier one.

    Raises:
        StoreError: If the disk does not take it.

    """
    text = msgspec.json.format(report.to_json(), indent=1)
    with file_beside(path) as aside:
        aside.write_text(text + "\n")


def read_report(path: Path) -> JobReport | None:
    """Return the report of an earlier run; None where there is none.

    Raises:
        JobError: If something else lies there.

    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=JobReport)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeError) as error:
        raise JobError(
            f"`{path}` is no report of a job: {error}", hint="move it away"
        ) from error


def merged(
    before: JobReport | None, outcomes: Sequence[Outcome], names: Sequence[str]
) -> tuple[Outcome, ...]:
    """Return what is known of each scene of a job, the latest, in its order.

    Args:
        before: The report of an earlier run.
        outcomes: What became of the scenes of this one.
        names: The scenes of the job.

    """
    known = {one.name: one for one in (before.outcomes if before else ())}
    for one in outcomes:
        earlier = known.get(one.name)
        if earlier is not None and one.state == "complete" and one.seams is None:
            one = replace(one, seams=earlier.seams)  # noqa: PLW2901 -- measured then
        known[one.name] = one
    return tuple(known[name] for name in names if name in known)
