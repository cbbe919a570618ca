"""A card has every entry, or it is refused by the name of what it lacks."""

from dataclasses import replace

import pytest

from mmearth_infer.contract.card import LONGEST, Card, card_from_toml
from mmearth_infer.contract.manifest import manifest_from_json, manifest_to_json
from mmearth_infer.errors import ManifestError
from tests.helpers.models import echo_manifest

ENTRIES = (
    "about",
    "trained_on",
    "trained_for",
    "good_for",
    "not_good_for",
    "licence",
    "attribution",
)
TEXT = "\n".join(f'{entry} = "Its {entry}."' for entry in ENTRIES)


def test_a_card_goes_through_a_manifest() -> None:
    card = card_from_toml(TEXT, source="card.toml")
    assert card.not_good_for == "Its not_good_for."
    echo = echo_manifest()
    manifest = replace(echo, provenance=replace(echo.provenance, card=card))
    again = manifest_from_json(manifest_to_json(manifest), source="m.onnx")
    assert again == manifest


def test_manifests_from_before_cards_are_read() -> None:
    text = manifest_to_json(echo_manifest())
    before = text.replace('"card": null,', "").replace('"weights": null,', "")
    assert before != text
    assert manifest_from_json(before, source="m.onnx") == echo_manifest()


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("wrong", ["", '{} = ""', '{} = "  "', "{} = 3"])
def test_an_entry_that_says_nothing(entry: str, wrong: str) -> None:
    lines = [line for line in TEXT.splitlines() if not line.startswith(f"{entry} ")]
    text = "\n".join([*lines, wrong.format(entry)])
    with pytest.raises(ManifestError, match=entry) as caught:
        card_from_toml(text, source="card.toml")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("about", "message"),
    [("two\nlines", "several lines"), ("x" * (LONGEST + 1), "1001 characters")],
)
def test_entries_that_are_no_sentences(about: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        Card(**dict.fromkeys(ENTRIES, "x") | {"about": about})


def test_what_is_no_toml() -> None:
    with pytest.raises(ManifestError, match=r"card `c\.toml` is not valid"):
        card_from_toml("about =", source="c.toml")
