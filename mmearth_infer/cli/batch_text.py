"""Plans and reports of jobs, as a person reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from mmearth_infer.jobs.plan import JobPlan
    from mmearth_infer.jobs.report import JobReport

MOST_RATES: Final = 8
"""Workers whose rates are said one by one."""


def plan_text(plan: JobPlan) -> str:
    """Return a plan in lines."""
    there = "" if plan.there is None else f", {plan.there} there already"
    sizes = (
        f"{plan.sizes_stated} stated, {plan.sizes_opened} opened, "
        f"{plan.sizes_assumed} assumed like those opened"
    )
    lines = [
        ("scenes", f"{plan.scenes}{there}"),
        ("sizes", sizes),
        ("windows", f"{plan.windows}"),
        ("pixels", f"{plan.megapixels:.1f} Mpx"),
        ("reads", f"{plan.read_bytes / 2**30:.2f} GiB of digital numbers"),
        ("writes", f"{plan.write_bytes / 2**30:.2f} GiB before compression"),
        ("workers", f"{plan.workers}"),
        ("time", _time(plan)),
    ]
    if plan.cost is not None:
        lines.append(("cost", f"{plan.cost:.2f}"))
    return "\n".join(
        [f"{name:<9}{text}" for name, text in lines]
        + [f"unreadable: {text}" for text in plan.unreadable]
    )


def summary(report: JobReport, path: Path) -> str:
    """Return what a person wants to know at the end."""
    counts = report.counts
    rate = report.megapixels_per_s
    done = (
        f"{counts['done']} scenes done, {counts['complete']} were complete already, "
        f"{counts['failed']} failed, in {report.elapsed_s:.1f} s"
    )
    lines = [done]
    if rate is not None:
        lines.append(f"a worker computed {rate:.2f} Mpx/s{_of_each(report)}")
    lines += [f"mosaic: {one.out}" for one in report.mosaics if one.state != "failed"]
    if report.worker_deaths:
        lines.append(f"{report.worker_deaths} workers died and were replaced")
    lines += sorted(
        {f"warning: {text}" for one in report.outcomes for text in one.warnings}
    )
    lines += [f"failed: {one.name}: {one.reason}" for one in report.failed]
    return "\n".join([*lines, f"report: {path}"])


def _of_each(report: JobReport) -> str:
    """Return what each worker computed, where they are few."""
    rates = report.workers.values()
    if not 1 < len(rates) <= MOST_RATES:
        return ""
    return f": {', '.join(f'{rate:.2f}' for rate in rates)}"


def _time(plan: JobPlan) -> str:
    """Return how long it takes, or how to find out."""
    if plan.hours is None:
        return "not known: --rate MPX/S says it, or a first run measures it"
    return f"{plan.hours:.2f} h at {plan.megapixels_per_s:.2f} Mpx/s a worker"
