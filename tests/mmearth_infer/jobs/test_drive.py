"""Workers die, scenes fail: the rest finishes, and nothing is tried for ever."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from mmearth_infer.errors import JobError
from mmearth_infer.jobs import cluster
from mmearth_infer.jobs.cluster import existing_cluster, local_workers
from mmearth_infer.jobs.drive import DIED, deaths, drive
from mmearth_infer.jobs.scene_task import SceneTask
from mmearth_infer.run.config import EmbedConfig
from tests.helpers.poison import act

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRIES = 3
LOST = "distributed.deploy.lost-worker-timeout"


def tasks(names: list[str], folder: Path) -> Iterator[SceneTask]:
    for name in names:
        yield SceneTask(name=name, config=EmbedConfig(scene=name, out=folder / name))


def test_every_scene_has_its_tries_and_no_more(tmp_path: Path) -> None:
    """What fails once is done; what always fails or kills is begun `tries` times."""
    good = [f"good-{n}" for n in range(12)]
    bad = ["poison", "corrupt", "fault"]
    names = [*good[:6], *bad, "killed", "flaky", *good[6:]]
    with local_workers(2, dashboard=False) as client:
        found = {
            one.name: one
            for one in drive(client, tasks(names, tmp_path), tries=TRIES, run=act)
        }
        died = deaths(client)
    begun = {name: (tmp_path / name).read_text().count("begun") for name in names}
    assert set(found) == set(names)
    assert {n for n, one in found.items() if one.state == "failed"} == set(bad)
    assert found["poison"].reason == DIED
    assert found["corrupt"].reason == "it cannot be read"
    assert found["fault"].reason == "RuntimeError: a fault of a library"
    assert {name: begun[name] for name in bad} == dict.fromkeys(bad, TRIES)
    assert {found[name].tries for name in bad} == {TRIES}
    assert begun["flaky"] == found["flaky"].tries == 2
    assert died == TRIES + 1


def test_few_scenes_are_handed_over_at_once(tmp_path: Path) -> None:
    """The client takes a scene when a worker has room, however many there are."""
    taken = 0

    def counted() -> Iterator[SceneTask]:
        nonlocal taken
        for task in tasks([f"good-{n}" for n in range(30)], tmp_path):
            taken += 1
            yield task

    with local_workers(2, dashboard=False) as client:
        for done, _ in enumerate(
            drive(client, counted(), tries=TRIES, run=act), start=1
        ):
            assert taken <= done + 2
    assert done == taken == 30


def test_workers_that_do_not_come_back_are_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask gives up those that take long to start again; the job does not."""
    monkeypatch.setitem(cluster._SETTINGS, LOST, "100ms")
    with local_workers(2, dashboard=False) as client:
        for pid in client.run(os.getpid).values():
            os.kill(pid, signal.SIGKILL)
        time.sleep(1)  # until they are given up
        names = [f"good-{n}" for n in range(3)]
        found = list(drive(client, tasks(names, tmp_path), tries=TRIES, run=act))
    assert [one.state for one in found] == ["done"] * 3


def test_a_scheduler_that_is_not_there() -> None:
    with (
        pytest.raises(JobError, match="no Dask scheduler answers at `nowhere`") as told,
        existing_cluster("nowhere"),
    ):
        pass
    assert "tcp://HOST:PORT" in str(told.value.hint)
