"""Workers die, scenes fail: the rest finishes, and nothing is tried for ever."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from distributed import Future, KilledWorker, Nanny, system

from mmearth_infer.errors import JobError
from mmearth_infer.jobs import cluster
from mmearth_infer.jobs.cluster import existing_cluster, local_workers
from mmearth_infer.jobs.drive import DIED, deaths, drive
from mmearth_infer.jobs.scene_task import SceneTask
from mmearth_infer.run.config import EmbedConfig
from tests.helpers.poison import act, act_in_parts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mmearth_infer.jobs.scene_task import Outcome

TRIES = 3
MEMORY = 600 * 2**20
LOST = "distributed.deploy.lost-worker-timeout"


def tasks(names: list[str], folder: Path, *, parts: int = 1) -> Iterator[SceneTask]:
    for name in names:
        config = EmbedConfig(scene=name, out=folder / name)
        yield SceneTask(name=name, config=config, parts=parts)


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


def test_a_result_that_is_lost_with_its_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker may die after a scene, and before it has said what became of it."""
    result, lost = Future.result, []

    def once_lost(self: Future[Outcome]) -> Outcome:
        if not lost:
            lost.append(self.key)
            raise KilledWorker(self.key, result, 0)
        return result(self)

    monkeypatch.setattr(Future, "result", once_lost)
    with local_workers(1, dashboard=False) as client:
        (found,) = drive(client, tasks(["good"], tmp_path), tries=TRIES, run=act)
    assert found.state == "done"
    assert (tmp_path / "good").read_text().count("begun") == 2


def test_parts_are_tried_again_and_left_to_the_whole(tmp_path: Path) -> None:
    """However often parts fail or kill, the scene itself has its tries."""
    kinds = {"good": 3, "flaky": 3, "corrupt": 3, "poison": 3}
    names = [f"{kind}-parts" for kind in kinds]
    with local_workers(2, dashboard=False) as client:
        found = {
            one.name.partition("-")[0]: one
            for one in drive(
                client, tasks(names, tmp_path, parts=3), tries=TRIES, run=act_in_parts
            )
        }
    assert {kind: one.state for kind, one in found.items()} == dict.fromkeys(
        kinds, "done"
    )
    assert len(found["good"].work) == 3
    assert len(found["flaky"].work) == 3
    asked = {name: (tmp_path / name).read_text().split() for name in names}
    assert asked["good-parts"][0] == "begin"
    assert sorted(asked["good-parts"][1:4]) == ["0", "1", "2"]
    assert all(words[-1] == "whole" for words in asked.values())
    assert asked["corrupt-parts"].count("whole") == 1
    parts = [len(words) - 2 for words in asked.values()]
    assert parts == [3, 4, 3 + TRIES - 1, 3 + TRIES - 1]


def test_a_scene_that_eats_all_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker is replaced before the machine has none left; the rest is made."""
    monkeypatch.setattr(system, "MEMORY_LIMIT", 2 * MEMORY)
    names = ["good-1", "hungry", "good-2"]
    with local_workers(2, dashboard=False) as client:
        found = {
            one.name: one
            for one in drive(client, tasks(names, tmp_path), tries=2, run=act)
        }
    assert found["hungry"].reason == DIED
    assert [found[name].state for name in ("good-1", "good-2")] == ["done"] * 2


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


@pytest.mark.parametrize("deaths_at_first", [1, 99])
def test_workers_that_die_as_they_start(
    monkeypatch: pytest.MonkeyPatch, deaths_at_first: int
) -> None:
    """They are started again, and not for ever."""
    start, left = Nanny.start_unsafe, deaths_at_first

    async def dies(self: Nanny) -> Nanny:
        nonlocal left
        left -= 1
        if left >= 0:
            raise OSError("killed")
        return await start(self)

    monkeypatch.setattr(Nanny, "start_unsafe", dies)
    if deaths_at_first == 1:
        with local_workers(1, dashboard=False) as client:
            assert len(client.nthreads()) == 1
        return
    with (
        pytest.raises(JobError, match="workers die as they start: killed") as told,
        local_workers(1, dashboard=False),
    ):
        pass
    assert "memory" in str(told.value.hint)


def test_a_scheduler_that_is_not_there() -> None:
    with (
        pytest.raises(JobError, match="no Dask scheduler answers at `nowhere`") as told,
        existing_cluster("nowhere"),
    ):
        pass
    assert "tcp://HOST:PORT" in str(told.value.hint)
