"""Language profiles: which instruction a tag gets, and which tags get none."""

import json
from pathlib import Path

import pytest

from service.languages.profile import NotALanguage, Profiles

OWN = ("ar", "en", "es", "fr", "hi", "ru")


def test_the_six_languages_have_instructions_of_their_own() -> None:
    profiles = Profiles()

    assert [profile.tag for profile in profiles.all()] == list(OWN)
    assert len({profile.instruction for profile in profiles.all()}) == len(OWN)


@pytest.mark.parametrize(
    ("tag", "own"),
    [("fr", "fr"), ("FR", "fr"), ("fr-CA", "fr"), ("es-419", "es"), ("fra", "fr"), ("hi-Deva", "hi")],
)
def test_a_tag_gets_the_profile_of_its_language(tag: str, own: str) -> None:
    assert Profiles().get(tag).tag == own


@pytest.mark.parametrize(
    ("tag", "parts"),
    [
        ("sw", ["Swahili", "Kiswahili"]),
        ("pt-BR", ["Portuguese (Brazil)", "português"]),
        ("zh-Hant", ["Traditional", "繁體"]),
        # In another script than the profile's own.
        ("hi-Latn", ["Hindi", "Latin"]),
    ],
)
def test_any_other_tag_gets_an_instruction_that_names_the_language(tag: str, parts: list[str]) -> None:
    profile = Profiles().get(tag)

    assert profile.tag == tag
    assert all(part in profile.instruction for part in parts)


@pytest.mark.parametrize(
    "tag",
    [
        "",
        "english",
        "xx",
        "e",
        "fr CA",
        "fr-",
        "-fr",
        "fr\n",
        "*",
        "a" * 64,
        "fr-FRANCE",
        "\ud800",
        "und",
        "zxx",
    ],
)
def test_what_names_no_language_is_refused(tag: str) -> None:
    with pytest.raises(NotALanguage):
        Profiles().get(tag)


def test_an_operator_adds_a_language_with_a_file(tmp_path: Path) -> None:
    own = {"tag": "sw", "name": "Kiswahili", "instruction": "Wewe ni msaidizi. Jibu kwa Kiswahili."}
    (tmp_path / "sw.json").write_text(json.dumps(own))

    assert Profiles(tmp_path).get("sw-KE").instruction == own["instruction"]
    assert Profiles(tmp_path).get("fr").tag == "fr"


def test_a_file_replaces_a_built_in_profile_and_names_its_default_model(tmp_path: Path) -> None:
    own = {"tag": "fr", "name": "français", "instruction": "Réponds en français.", "model": "le-mien"}
    (tmp_path / "fr.json").write_text(json.dumps(own))

    assert Profiles(tmp_path).get("fr-CA").model_dump() == own


@pytest.mark.parametrize("content", ['{"tag": "sw"}', '{"tag": "?", "name": "x", "instruction": "x"}', "{"])
def test_a_file_that_is_no_profile_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "broken.json").write_text(content)

    with pytest.raises(ValueError, match=r"broken\.json"):
        Profiles(tmp_path)
