"""Which language an answer is in."""

import pytest

from service.languages.detect import detect


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("The museum opens at nine in the morning and closes at five.", "en"),
        ("संग्रहालय सुबह नौ बजे खुलता है और शाम पाँच बजे बंद होता है।", "hi"),
        ("Le musée ouvre à neuf heures du matin et ferme à dix-sept heures.", "fr"),
        ("El museo abre a las nueve de la mañana y cierra a las cinco.", "es"),
        ("يفتح المتحف في التاسعة صباحا ويغلق في الخامسة مساء.", "ar"),
        ("Музей открывается в девять утра и закрывается в пять вечера.", "ru"),
    ],
)
def test_a_sentence_is_recognised(text: str, tag: str) -> None:
    assert detect(text) == tag


@pytest.mark.parametrize("text", ["", "   ", "42", "1 + 1 = 2", "Yes.", "🙂" * 20, "_______"])
def test_too_few_letters_are_in_no_language(text: str) -> None:
    assert detect(text) is None
