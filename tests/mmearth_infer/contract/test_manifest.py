"""The manifest reads back what was written, and refuses what it cannot honour."""

import json
from dataclasses import replace
from typing import Any

import pytest

from mmearth_infer.contract.bands import MMEARTH_BANDS
from mmearth_infer.contract.classes import MapClass
from mmearth_infer.contract.manifest import manifest_from_json, manifest_to_json
from mmearth_infer.contract.normalize import Statistics, pretraining_statistics
from mmearth_infer.contract.verification import Compared, Verification
from mmearth_infer.errors import ManifestError, ModelError
from tests.helpers.data import DATA, needs_data
from tests.helpers.models import echo_manifest, newer_manifest_text


def test_a_manifest_survives_json() -> None:
    row = Compared(
        output="stage4",
        level="l2a",
        shape=(1, 12, 16, 16),
        max_relative=1e-6,
        mean_relative=1e-7,
        min_cosine=1.0,
    )
    checked = Verification(reference="eager", tolerance=1e-5, compared=(row,))
    manifest = replace(echo_manifest(), verification=checked)
    assert manifest_from_json(manifest_to_json(manifest), source="f") == manifest


def test_a_newer_schema_is_refused() -> None:
    with pytest.raises(ManifestError, match="schema version 99") as error:
        manifest_from_json(newer_manifest_text(), source="f")
    assert error.value.hint is not None
    assert "upgrade" in error.value.hint


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("bands",), ["B1", "B1"]),
        (("bands",), ["B77"]),
        (("bands",), []),
        (("outputs",), []),
        (("outputs", 0, "stride_px"), 0),
        (("outputs", 0, "stride_px"), "16"),
        (("outputs", 0, "channels"), -3),
        (("multiple_px",), 24),
        (("statistics", "l2a", "std", 0), 0.0),
        (("statistics", "l2a", "std", 0), -1.0),
        (("statistics", "l2a", "mean"), [1.0]),
        (("statistics",), {"l3": {"mean": [], "std": []}}),
        (("task",), "poetry"),
        (("verification",), {}),
        (("verification",), {"reference": "x", "tolerance": 1, "compared": []}),
        (("schema",), "1"),
        (("name",), None),
    ],
)
def test_a_lying_manifest_is_refused(path: tuple[Any, ...], value: object) -> None:
    """Every field is checked; nothing a file says is trusted."""
    content = json.loads(manifest_to_json(echo_manifest()))
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ManifestError):
        manifest_from_json(json.dumps(content), source="f")


@pytest.mark.parametrize("text", ["", "[]", "7", "{}", '{"schema": null}', "[" * 99999])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ManifestError, match="`f`"):
        manifest_from_json(text, source="f")


def test_a_segmentation_model_names_a_class_for_every_logit() -> None:
    embedding = echo_manifest()
    output = replace(embedding.outputs[0], channels=2)
    dry, wet = (
        MapClass(name="dry", rgb=(200, 180, 120)),
        MapClass(name="wet", rgb=(0, 0, 255)),
    )
    made = replace(
        embedding, task="segmentation", outputs=(output,), classes=(dry, wet)
    )
    assert manifest_from_json(manifest_to_json(made), source="f") == made
    with pytest.raises(ManifestError, match="1 classes for 2 logits"):
        replace(made, classes=(dry,))
    with pytest.raises(ManifestError, match="classes of an embedding"):
        replace(made, task="embedding")


@pytest.mark.parametrize("rgb", [(0, 0, 256), (-1, 0, 0)])
def test_a_colour_that_is_none_is_refused(rgb: tuple[int, int, int]) -> None:
    with pytest.raises(ManifestError, match="wet"):
        MapClass(name="wet", rgb=rgb)


def test_infinite_statistics_are_refused() -> None:
    with pytest.raises(ManifestError, match="inf"):
        Statistics(mean=(float("inf"),), std=(1.0,))


def test_a_missing_stage_or_level_is_named() -> None:
    manifest = echo_manifest()
    with pytest.raises(ModelError, match="does not give stage 2"):
        manifest.output(2)
    one_level = replace(manifest, statistics={"l1c": manifest.statistics["l1c"]})
    with pytest.raises(ModelError, match="no statistics for L2A"):
        one_level.statistics_for("l2a")


@needs_data
def test_statistics_are_those_of_the_pretraining_data() -> None:
    """The figures in the code are the published ones, by name."""
    published = json.loads((DATA / "mmearth_band_stats.json").read_text())
    order = published["_bands"]
    shuffled = tuple(reversed(MMEARTH_BANDS))
    for level, numbers in pretraining_statistics(shuffled).items():
        theirs = published[f"sentinel2_{level}"]
        for n, band in enumerate(shuffled):
            assert numbers.mean[n] == theirs["mean"][order.index(band)]
            assert numbers.std[n] == theirs["std"][order.index(band)]


def test_the_pretraining_data_have_no_b10() -> None:
    with pytest.raises(ManifestError, match="B10"):
        pretraining_statistics(["B10"])
