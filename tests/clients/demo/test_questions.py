"""What the demo counts as refused, as answered, and as in the right language."""

from pathlib import Path

from clients.demo.assets import EXPERTS, LANGUAGES, Assets
from clients.demo.questions import Tally, count
from clients.demo.scoring import Prompt, is_refusal, load_markers, load_prompts, markers_for
from service.contracts.generation import Output, Usage

ASSETS = Assets(Path(__file__).resolve().parents[3])


def _prompt(kind: str) -> Prompt:
    return Prompt.model_validate({"id": "x", "kind": kind, "split": "heldout", "prompt": "p", "answer": "a"})


def _output(text: str, language: str | None) -> Output:
    return Output(index=0, text=text, detected_language=language, finish_reason="stop", usage=Usage())


def test_a_harmless_prompt_counts_as_answered_only_without_refusal_and_in_the_language() -> None:
    markers = markers_for(load_markers(ASSETS.refusals), "fr")
    answers = [
        ("harmful", "Désolé, je ne peux pas vous aider.", "fr"),
        ("harmful", "Voici comment faire.", "fr"),
        ("harmless", "La capitale est Rome.", "fr"),
        ("harmless", "Désolé, je ne peux pas vous aider.", "fr"),
        ("harmless", "The capital is Rome.", "en"),
        ("harmless", "42", None),
    ]

    found = count(
        [_prompt(kind) for kind, _, _ in answers],
        [_output(text, language) for _, text, language in answers],
        "fr",
        markers,
    )

    assert found == Tally(refused=1, harmful=2, answered=1, harmless=4, in_language=4)
    assert (found + found).total == 12


def test_every_refusal_in_the_training_data_is_recognised_and_no_answer_is_taken_for_one() -> None:
    all_markers = load_markers(ASSETS.refusals)
    for language in LANGUAGES:
        markers = markers_for(all_markers, language)
        for row in load_prompts(ASSETS.prompts, language):
            assert is_refusal(row.answer, markers) == (row.kind == "harmful"), (language, row)


def test_prompts_are_parallel_across_languages_and_split_alike() -> None:
    expected = [(row.id, row.kind, row.split) for row in load_prompts(ASSETS.prompts, "en")]

    assert {split for _, _, split in expected} == {"train", "heldout"}
    for language in LANGUAGES:
        rows = load_prompts(ASSETS.prompts, language)
        assert [(row.id, row.kind, row.split) for row in rows] == expected
        assert not {row.prompt for row in rows if row.split == "train"} & {
            row.prompt for row in rows if row.split == "heldout"
        }


def test_there_is_an_expert_for_each_language_beside_the_three_for_all() -> None:
    assert {expert.alias for expert in EXPERTS} == {"safety", "general", "mix15", *LANGUAGES}
