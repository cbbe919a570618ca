"""What is published, and what its names mean to commands."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mmearth_infer.contract.bands import MMEARTH_RGB_BANDS
from mmearth_infer.engine import model
from mmearth_infer.engine.model import find_model
from mmearth_infer.errors import ModelError
from mmearth_infer.models.cache import kept_model
from mmearth_infer.models.published import PUBLISHED
from tests.conftest import Ran

NAME = "pt-S2_atto_1M_64_uncertainty_56-8"


@pytest.fixture
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_there_are_ten() -> None:
    assert len(PUBLISHED) == 10
    assert [one.name for one in PUBLISHED.values()] == list(PUBLISHED)
    tiny = [one for one in PUBLISHED.values() if one.size == "tiny"]
    assert len(tiny) == 1
    rgb = [one for one in PUBLISHED.values() if one.bands == MMEARTH_RGB_BANDS]
    assert {one.name for one in rgb} == {name for name in PUBLISHED if "rgb" in name}


def test_an_address_is_that_of_the_authors_hub() -> None:
    assert PUBLISHED[NAME].address() == (
        "https://sid.erda.dk/share_redirect/g23YOnaaTp/"
        "pt-S2_atto_1M_64_uncertainty_56-8/checkpoint-199.pth"
    )


def test_about() -> None:
    assert PUBLISHED["pt-rgb_atto_1M_128_uncertainty_112-16"].about == (
        "atto/16, B2, B3, B4 to B2, B3, B4, MMEarth, uncertainty"
    )


@pytest.mark.usefixtures("_empty_cache")
def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of that name comes first, a folder does not; the rest are paths.

    `builtin` is what is taken where nothing is named, wherever that is.
    """
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="not on this machine yet") as caught:
        find_model(NAME)
    assert caught.value.hint == f"mmearth models get {NAME}"
    kept = kept_model(NAME)
    kept.parent.mkdir(parents=True)
    kept.touch()
    Path(NAME).mkdir()
    assert find_model(NAME) == kept
    assert find_model("other") == Path("other")
    Path(NAME).rmdir()
    for name in (NAME, "builtin"):
        Path(name).touch()
    assert find_model(NAME) == Path(NAME)
    assert find_model("builtin") == model.BUILTIN_MODEL


@pytest.mark.usefixtures("_empty_cache")
@pytest.mark.parametrize("command", [("models",), ("models", "list")])
def test_the_list(command: tuple[str, ...], mmearth: Callable[..., Ran]) -> None:
    text = mmearth(*command).stdout
    assert "builtin" in text
    assert all(name in text for name in PUBLISHED)
    rows = mmearth(*command, "--json").report["models"]
    assert [row["name"] for row in rows] == ["builtin", *PUBLISHED]
    assert [bool(row["model"]) for row in rows] == [True] + [False] * 10
    assert all(row["address"].startswith("https://") for row in rows[1:])
