"""The table and the chart, of results made up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mmearth_training.evaluate.fewshot import draw_few_shot, few_shot_lines
from mmearth_training.evaluate.published import PUBLISHED
from mmearth_training.evaluate.results import Result
from mmearth_training.evaluate.table import make_table

if TYPE_CHECKING:
    from mmearth_training.evaluate.settings import Mode


def result(
    model: str,
    value: float,
    *,
    task: str = "m-so2sat",
    mode: Mode = "lp",
    partition: str = "default",
    train: int = 19_992,
    **changes: Any,  # noqa: ANN401
) -> Result:
    return Result(
        model=model,
        sha256="",
        task=task,
        mode=mode,
        partition=partition,
        metric=changes.pop("metric", "accuracy"),
        value=value,
        majority=changes.pop("majority", 0.1),
        scores={},
        samples={"train": train, "val": 986, "test": 986},
        elapsed_s=1.0,
        versions={},
    )


def test_the_best_of_several_is_bold() -> None:
    lines = make_table(
        [result("mine", 0.4512), result("other", 0.44), result("mine", 0.5, mode="ft")],
        statistics="dataset",
    ).splitlines()
    assert "| mine | 50.0 | **45.1** |" in lines
    assert "| other | - | 44.0 |" in lines
    assert "| *majority* | 10.0 | 10.0 |" in lines
    assert "| *paper* MMEarth, all modalities | 55.9 | 44.2 |" in lines


def test_only_what_is_comparable_stands_beside_the_paper() -> None:
    """No rows of the paper beside few samples, and a word where samples differ."""
    page = make_table([result("mine", 0.3)], statistics="dataset")
    assert "*paper* ImageNet" in page
    assert "Other samples" not in page
    page = make_table([result("mine", 0.3, train=100)], statistics="dataset")
    assert "Other samples than in the paper: m-so2sat (100 of 19992)." in page
    few = result("mine", 0.3, partition="0.01x_train", train=199)
    assert "*paper* ImageNet" not in make_table([few], statistics="dataset")


def test_figures_of_the_paper() -> None:
    """As the reference has them: fine-tuned and probed, maps, extended probe."""
    ours = PUBLISHED["MMEarth, all modalities"]
    assert ours["m-bigearthnet", "ft"] == 80.0
    assert ours["m-so2sat", "elp"] == 49.8
    assert PUBLISHED["MMEarth, S2 only"]["m-cashew-plant", "seg"] == 84.5
    assert PUBLISHED["ImageNet"]["m-SA-crop-type", "seg"] == 27.4


def test_lines_from_few_samples_to_many() -> None:
    """The default partition is all samples, unless that was tried by name."""
    results = [
        result("mine", 0.6),
        result("mine", 0.2, partition="0.01x_train", train=199),
        result("mine", 0.4, partition="0.10x_train", train=1999),
        result("once", 0.5),
    ]
    expected = {"mine": [(199, 20.0), (1999, 40.0), (19_992, 60.0)]}
    assert few_shot_lines(results) == {("m-so2sat", "lp"): expected}
    named = result("mine", 0.7, partition="1.00x_train")
    assert few_shot_lines([*results, named])["m-so2sat", "lp"]["mine"][-1] == (
        19_992,
        pytest.approx(70.0),
    )
    assert draw_few_shot(results) is not None
    assert draw_few_shot([result("once", 0.5)]) is None
