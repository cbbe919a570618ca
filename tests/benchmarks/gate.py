"""The gate on every size, patch, format, precision and scope of GRN that is supported.

    python -m tests.benchmarks.gate [--size atto] [--size tiny] [--patch 8] [--patch 16]

Takes the better part of an hour, most of it compiling, and is no test for that reason.
Weights are random, GRN is frozen on the Major TOM scene. The last line is JSON.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click

from mmearth_export.artifact import ExportConfig, export_model
from mmearth_export.formats import FORMATS, SUFFIXES, Format
from mmearth_export.precision import SUPPORTED
from mmearth_infer.engine.cuda import gpu_count
from mmearth_infer.errors import VerificationError
from tests.helpers.data import MAJORTOM
from tests.helpers.random_checkpoint import write_random


@click.command()
@click.option("--size", "sizes", multiple=True, default=("atto", "tiny"))
@click.option("--patch", "patches", multiple=True, type=int, default=(8, 16))
@click.option(
    "--format",
    "kinds",
    multiple=True,
    default=[kind for kind in FORMATS if kind != "trt" or gpu_count()],
)
def main(
    *, sizes: tuple[str, ...], patches: tuple[int, ...], kinds: tuple[Format, ...]
) -> None:
    """Export everything and print how far each is from eager PyTorch."""
    rows = [
        (size, patch_px, kind, precision, grn)
        for size in sizes
        for patch_px in patches
        for kind in kinds
        for precision in SUPPORTED[kind]
        for grn in ("window", "frozen")
        if not (precision == "int8" and grn == "window")
    ]
    report = []
    with tempfile.TemporaryDirectory() as name:
        for size, patch_px, kind, precision, grn in rows:
            folder = Path(name) / f"{size}-{patch_px}"
            if not folder.exists():
                write_random(folder, size, patch_px)
            label = f"{size}/{patch_px} {kind} {precision} {grn}"
            try:
                made = export_model(
                    ExportConfig(
                        checkpoint=folder,
                        out=Path(name) / f"m{SUFFIXES[kind][0]}",
                        format=kind,
                        precision=precision,
                        grn=grn,  # type: ignore[arg-type]
                        calibrate=(str(MAJORTOM),) if grn == "frozen" else (),
                        overwrite=True,
                    )
                )
            except VerificationError as error:
                report.append({"model": label, "passed": False})
                print(f"{label:36} FAILED: {error}", flush=True)
                continue
            assert made.verification is not None
            cosines = [row.p1_cosine or 0 for row in made.verification.compared]
            report.append(
                {
                    "model": label,
                    "passed": True,
                    "max_relative": made.verification.max_relative,
                    "p1_cosine": min(cosines),
                }
            )
            print(
                f"{label:36} max {made.verification.max_relative:.1e}  "
                f"cosine {min(cosines):.6f}",
                flush=True,
            )
    print(json.dumps(report))


if __name__ == "__main__":
    main()
