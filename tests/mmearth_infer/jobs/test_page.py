"""The report of a job as a page."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from mmearth_infer.errors import StoreError
from mmearth_infer.jobs.page import MOST_ROWS, page, write_page
from mmearth_infer.jobs.report import JobReport, page_path
from mmearth_infer.jobs.scene_task import Outcome, Work
from tests.mmearth_infer.jobs.test_page_map import box

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

WHEN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)

HOSTILE = "<script>alert('x')</script>\"&\x1b\x00\u202e{{ 7 * 7 }}"

ALONE = {"meta", "line"}
"""Elements without an end."""


class Read(HTMLParser):
    """A page, read by the standard library; every element must end in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs
        if tag not in ALONE:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALONE
        self.names.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.setdefault(self.open[-1], []).append(data.strip())


def outcome(name: str, **said: Any) -> Outcome:  # noqa: ANN401
    plain = {"scene": f"{name}.tif", "out": f"{name}.zarr", "state": "done"}
    return Outcome(name=name, **{**plain, **said})


def did(worker: str, megapixels: int, elapsed_s: float) -> tuple[Work, ...]:
    return (Work(worker=worker, pixels=megapixels * 10**6, elapsed_s=elapsed_s),)


def report(outcomes: Iterable[Outcome], **said: Any) -> JobReport:  # noqa: ANN401
    plain = {"job": "alps", "task": "embed", "model": "m.onnx", "worker_deaths": 0}
    return JobReport(**{**plain, "elapsed_s": 75.0, **said}, outcomes=tuple(outcomes))


def read(outcomes: Iterable[Outcome], **said: Any) -> Read:  # noqa: ANN401
    return Read(page(report(outcomes, **said), retry="mmearth batch x", when=WHEN))


def test_what_stands_on_it() -> None:
    found = read(
        [
            outcome("a", work=did("h:7", 3, 2.0), seams=1.25),
            outcome("b", work=did("h:7", 1, 2.0), seams=1.5),
            outcome("c", work=did("h:8", 4, 1.0), files=("x/c.png", "x/c.tif")),
            outcome("d", state="complete", footprint=box(11, 47), warnings=("dark",)),
            outcome("e", state="failed", reason="cut off", hint="get it", tries=3),
        ]
    )
    cells = found.text["td"]
    assert found.text["h1"] == ["alps"]
    assert found.text["dd"] == ["5", "3", "1", "1"]
    assert found.text["time"] == ["2026-01-02 03:04 UTC"]
    assert found.text["code"] == ["m.onnx", "mmearth batch x"]
    at = cells.index("cut off")
    assert cells[at - 1 : at + 3] == ["e", "cut off", "get it", "3"]
    at = cells.index("dark")
    assert cells[at : at + 3] == ["dark", "1", "d"]
    at = cells.index("h:7")
    assert cells[at : at + 8] == [
        "h:7",
        "2",
        "1.00",
        "80 %",
        "h:8",
        "1",
        "4.00",
        "20 %",
    ]
    at = cells.index("1.500")
    assert cells[at - 1 : at + 3] == ["b", "1.500", "a", "1.250"]
    assert "c.png, c.tif" in cells
    assert found.text["title"] == ["alps", "d: complete"]
    assert found.text["summary"] == [
        "4 scenes not on the map: where they lie is not known"
    ]


def test_what_is_not_there_has_no_heading() -> None:
    found = read([])
    assert found.text["h2"] == ["Scenes"]
    assert "svg" not in found.names


def test_mosaics_have_a_table() -> None:
    """Those that failed are among the failures."""
    made = outcome("32N", out="32N.zarr")
    failed = outcome("33N", state="failed", reason="no room")
    found = read([outcome("a")], mosaics=(made, failed))
    assert found.text["h2"] == ["Failures", "Mosaics", "Scenes"]
    assert found.text["dd"] == ["1", "1", "0", "0"]
    assert "32N.zarr" in found.text["td"]
    assert "no room" in found.text["td"]


def test_hostile_text_is_text() -> None:
    """Wherever it stands; nothing of it becomes an element, or is computed."""
    harmless = read([outcome("a", state="failed", footprint=box(1, 1))] * 2)
    found = read(
        [
            outcome(
                HOSTILE,
                state="failed",
                out=HOSTILE,
                reason=HOSTILE,
                hint=HOSTILE,
                footprint=box(1, 1),
            )
        ]
        * 2,
        job=HOSTILE,
        model=HOSTILE,
    )
    assert found.names == harmless.names
    shown = HOSTILE.replace("\x1b", "\ufffd").replace("\x00", "\ufffd")
    assert found.text["h1"] == [shown]
    in_failures, in_scenes = 3, 2
    assert found.text["td"].count(shown) == 2 * (in_failures + in_scenes)
    assert found.text["title"][1] == f"{shown}, {shown}: failed"


def test_it_needs_nothing_else() -> None:
    """No script, and no attribute that a browser would fetch."""
    found = read([outcome("a", footprint=box(1, 1))])
    assert "script" not in found.names
    assert not {"src", "href", "onload"} & {name for name, _ in found.attributes}
    said = [value for name, value in found.attributes if name == "content"]
    assert any("default-src 'none'" in str(value) for value in said)


def test_ten_thousand_scenes_make_a_page_that_opens(tmp_path: Path) -> None:
    """Below 5 MB, with a thousand rows."""
    name = "S2A_MSIL1C_20240101T103421_N0510_R065_T32TLS_20240101T123456"
    many = [
        outcome(f"{name}{n}", footprint=box(n % 100 * 3.1, n // 100 - 50), out=name * 2)
        for n in range(10_000)
    ]
    write_page(tmp_path / "p.html", report(many), when=WHEN)
    assert (tmp_path / "p.html").stat().st_size < 5e6
    found = Read((tmp_path / "p.html").read_text())
    assert found.names.count("tr") == 1 + MOST_ROWS
    assert found.names.count("path") == 1
    assert any("The first 1000 of 10000" in text for text in found.text["p"])


def test_a_place_that_is_no_number_is_not_drawn() -> None:
    found = read([outcome("a", footprint=((1.0, 2.0), (float("inf"), 2.0)))])
    assert "svg" not in found.names
    assert "1 scene not on the map" in found.text["summary"][0]


def test_names_that_are_no_text_are_written(tmp_path: Path) -> None:
    write_page(tmp_path / "p.html", report([outcome("a\udcff")]), when=WHEN)
    assert "a?.zarr" in (tmp_path / "p.html").read_text()


def test_it_replaces_its_own_and_nothing_else(tmp_path: Path) -> None:
    path = page_path(tmp_path / "alps.toml")
    assert path.name == "alps.report.html"
    write_page(path, report([]), when=WHEN)
    write_page(path, report([outcome("b")]), when=WHEN)
    assert "b.zarr" in path.read_text()
    path.write_text("<html>mine</html>")
    with pytest.raises(StoreError, match="is not a page of a report made by mmearth"):
        write_page(path, report([]), when=WHEN)
    assert path.read_text() == "<html>mine</html>"


def test_the_command_is_that_of_the_job_beside_it(tmp_path: Path) -> None:
    failed = [outcome("a", state="failed", reason="no")]
    write_page(tmp_path / "p.html", report(failed), when=WHEN)
    assert "mmearth batch alps.toml --only-failed" in (tmp_path / "p.html").read_text()
