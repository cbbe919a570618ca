"""Batches at once: lanes of a GPU (a stand-in, in the CPU's memory), several GPUs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, Any

import cuda.bindings
import numpy as np
import pytest

from mmearth_infer.contract.manifest import MEAN_INPUT, PIXELS_INPUT, STD_INPUT
from mmearth_infer.engine import open as opening
from mmearth_infer.engine import ort
from mmearth_infer.engine.choice import Choice
from mmearth_infer.engine.ort import OrtRuntime, Providers, providers_for
from mmearth_infer.engine.runtime import Runtime
from mmearth_infer.engine.several import Several
from tests.helpers.models import UNTRAINED
from tests.helpers.scenes import random_dn
from tests.helpers.stand_in.cuda import Runtime as StandIn

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from mmearth_infer.engine.model import ModelFile

CPU = providers_for(Choice(engine="onnxruntime", device="cpu", why=""))
FILE = opening.read_file(UNTRAINED)
OUTPUT = FILE.manifest.output(None).name


def feeds(tiles: int, side: int) -> dict[str, NDArray[Any]]:
    numbers = FILE.manifest.statistics["l2a"]
    dn = np.stack([random_dn(height=side, width=side) for _ in range(tiles)])
    return {
        PIXELS_INPUT: dn,
        MEAN_INPUT: np.asarray(numbers.mean, dtype=np.float32),
        STD_INPUT: np.asarray(numbers.std, dtype=np.float32),
    }


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> OrtRuntime:
    """ONNX Runtime as on a GPU; what CUDA does is done in memory."""
    monkeypatch.setattr(cuda.bindings, "runtime", StandIn())
    monkeypatch.setattr(Providers, "place", ("cpu", 0))
    providers = Providers(name="onnxruntime", device="cuda:0", those=CPU.those)
    return OrtRuntime(UNTRAINED.read_bytes(), providers, threads=1)


def test_lanes_give_what_one_gives(on_a_gpu: OrtRuntime) -> None:
    """Batches of several sizes through all lanes at once, memory used again."""
    assert on_a_gpu.lanes == ort.GPU_LANES
    plain = OrtRuntime(UNTRAINED.read_bytes(), CPU, threads=1)
    assert (plain.lanes, plain.free_bytes()) == (1, None)
    given = [feeds(tiles, side) for tiles, side in [(1, 64), (2, 64), (1, 32)] * 4]
    with ThreadPoolExecutor(on_a_gpu.lanes) as pool:
        found = list(pool.map(lambda one: on_a_gpu.run([OUTPUT], one), given))
    for one, (features,) in zip(given, found, strict=True):
        np.testing.assert_array_equal(features, plain.run([OUTPUT], one)[0])


def test_views_are_taken_as_they_are(on_a_gpu: OrtRuntime) -> None:
    """A batch may be a view whose tiles share pixels."""
    one = feeds(1, 64)
    wide = random_dn(height=64, width=96)
    tiles = np.lib.stride_tricks.sliding_window_view(wide, (64, 64), axis=(1, 2))
    one[PIXELS_INPUT] = tiles.transpose(1, 2, 0, 3, 4)[0, ::16]
    (found,) = on_a_gpu.run([OUTPUT], one)
    one[PIXELS_INPUT] = np.ascontiguousarray(one[PIXELS_INPUT])
    (expected,) = on_a_gpu.run([OUTPUT], one)
    np.testing.assert_array_equal(found, expected)


class Counting(Runtime):
    """A runtime that waits until all devices are at work, and counts."""

    def __init__(
        self, device: str, lanes: int, free: int | None, meet: Barrier
    ) -> None:
        self.name, self.version, self.device = "counting", "1", device
        self.lanes, self.free, self.meet = lanes, free, meet
        self.runs = self.prepared = 0

    def free_bytes(self) -> int | None:
        return self.free

    def axes(self) -> None:
        return None

    def prepare(self, largest: tuple[int, int, int]) -> None:
        self.prepared += largest[0]

    def run(self, *_: object) -> list[NDArray[np.float32]]:
        self.runs += 1
        self.meet.wait(timeout=20)
        return []


def test_several_gpus_work_at_once() -> None:
    meet = Barrier(4)
    those = [Counting("cuda:0", 2, 10, meet), Counting("cuda:1", 2, 7, meet)]
    both = Several(those, "cuda:0,1")
    assert (both.lanes, both.device, both.free_bytes()) == (4, "cuda:0,1", 7)
    both.prepare((3, 16, 16))
    assert [one.prepared for one in those] == [3, 3]
    with ThreadPoolExecutor(both.lanes) as pool:
        list(pool.map(lambda _: both.run([], {}), range(8)))
    assert [one.runs for one in those] == [4, 4]


def test_a_model_is_opened_on_each_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def open_one(
        _path: Path, choice: Choice, _threads: int
    ) -> tuple[ModelFile, Runtime]:
        opened.append(choice.gpu)
        return FILE, Counting(choice.device, 1, 5, Barrier(1))

    taken = Choice(engine="onnxruntime", device="cuda:0,2", why="")
    monkeypatch.setattr(opening, "choose", lambda *_: taken)
    monkeypatch.setitem(opening._OPEN, "onnxruntime", open_one)
    model = opening.open_model(UNTRAINED)
    assert opened == [0, 2]
    assert (model.runtime.device, model.runtime.lanes) == ("cuda:0,2", 2)
