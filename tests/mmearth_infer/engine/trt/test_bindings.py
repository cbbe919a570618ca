"""Our use of TensorRT, held against the real bindings of both versions it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.stand_in.cases import VERSIONS, needs_bindings, run_cases
from tests.helpers.stand_in.signatures import Parameter, Signature


@needs_bindings
@pytest.mark.parametrize("version", VERSIONS)
def test_every_call_exists_and_data_go_through(version: str, tmp_path: Path) -> None:
    run_cases(Path(__file__).with_name("in_stand_in.py"), version, tmp_path)


def test_a_wrong_call_is_noticed() -> None:
    """Or all of the above could not fail."""
    signature = Signature(
        (
            Parameter("name", "str", optional=False),
            Parameter("memory", "typing.SupportsInt", optional=False),
            Parameter("path", "str", optional=True),
        ),
        "bool",
    )
    assert signature.bind(("a", 1), {}) == {"name": "a", "memory": 1}
    for args, kwargs in (
        (("a",), {}),
        (("a", 1, "b", 2), {}),
        ((1, 1), {}),
        (("a", "b"), {}),
        (("a", 1), {"flag": 2}),
        (("a", 1), {"name": "b"}),
    ):
        with pytest.raises(TypeError):
            signature.bind(args, kwargs)
