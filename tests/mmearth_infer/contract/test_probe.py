"""A probe's manifest survives its JSON, and what is none is refused."""

import json
from dataclasses import replace

import pytest

from mmearth_infer.contract.classes import MapClass
from mmearth_infer.contract.probe import (
    ProbeManifest,
    Score,
    Validation,
    probe_from_json,
    probe_to_json,
)
from mmearth_infer.errors import ManifestError

PROBE = ProbeManifest(
    kind="logistic",
    classes=(MapClass(name="a", rgb=(1, 2, 3)), MapClass(name="b", rgb=(4, 5, 6))),
    cells=(3, 4),
    model_name="echo",
    model_digest="sha256:0",
    stage=4,
    stride_px=16,
    channels=12,
    settings={"C": 0.1, "balanced": False},
    labels=("l.geojson",),
    stores=("s.zarr",),
    code_version="0",
    validation=Validation(
        folds=2,
        block_cells=8,
        block_m=1280.0,
        blocks=3,
        scores={"accuracy": Score(value=0.5, low=0.25, high=0.75, folds=(0.4, 0.6))},
        iou=(0.5, 0.25),
        confusion=((1, 2), (3, 1)),
    ),
)


def test_there_and_back() -> None:
    assert probe_from_json(probe_to_json(PROBE), source="p.onnx") == PROBE
    bare = replace(PROBE, validation=None, stage=None)
    assert probe_from_json(probe_to_json(bare), source="p.onnx") == bare


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (None, "`p.onnx` is not a probe", "mmearth probe fit STORE"),
        ("{}", "no schema version", "mmearth probe fit"),
        ("nothing", "no schema version", "mmearth probe fit"),
        (
            probe_to_json(replace(PROBE, schema=99)),
            "schema version 99; this version reads up to 2",
            "pip install -U",
        ),
        (json.dumps({"schema": 1}), "is not valid", "mmearth probe fit"),
        (
            probe_to_json(PROBE).replace('"logistic"', '"forest"'),
            "is not valid",
            "mmearth probe fit",
        ),
    ],
)
def test_what_is_no_manifest(text: str | None, message: str, hint: str) -> None:
    with pytest.raises(ManifestError, match=message) as caught:
        probe_from_json(text, source="p.onnx")
    assert hint in str(caught.value.hint)


def test_numbers_that_do_not_fit() -> None:
    with pytest.raises(ManifestError, match="1 classes and cells of 2"):
        replace(PROBE, classes=PROBE.classes[:1])
    with pytest.raises(ManifestError, match="2 classes and cells of 1"):
        replace(PROBE, cells=(3,))
    with pytest.raises(ManifestError, match="reads 0 channels"):
        replace(PROBE, channels=0)


def test_several_stages() -> None:
    """What older versions cannot know of is in a schema that they refuse."""
    several = replace(PROBE, finer_stages=(1, 3))
    assert several.stages == (1, 3, 4)
    assert several.schema == 2
    assert probe_from_json(probe_to_json(several), source="p.onnx") == several
    assert PROBE.stages == (4,)
    assert replace(PROBE, stage=None).stages == ()
    for finer, stage in (((3, 1), 4), ((1, 1), 4), ((4,), 4), ((0,), 4), ((1,), None)):
        with pytest.raises(ManifestError, match="inside cells of stage"):
            replace(PROBE, finer_stages=finer, stage=stage)
    with pytest.raises(ManifestError, match="unknown to its schema 1"):
        replace(several, schema=1)


def test_probes_of_the_first_schema_are_read() -> None:
    said = json.loads(probe_to_json(PROBE))
    del said["finer_stages"]
    old = probe_from_json(json.dumps({**said, "schema": 1}), source="p.onnx")
    assert old == replace(PROBE, schema=1)
    assert old.stages == (4,)
