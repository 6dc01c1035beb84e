import pytest
from pydantic import TypeAdapter, ValidationError

from service.contracts.keep_alive import FOREVER, KeepAlive

keep_alive = TypeAdapter[float](KeepAlive)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(0, 0), (90, 90), ("90", 90), (1.5, 1.5), ("5m", 300), ("1h30m", 5400), ("250ms", 0.25), ("2d", 172800)],
)
def test_seconds_and_durations_are_understood(written: object, seconds: float) -> None:
    assert keep_alive.validate_python(written) == seconds


@pytest.mark.parametrize("written", [-1, "-1", "-1m", -3.0])
def test_less_than_nothing_is_for_ever(written: object) -> None:
    assert keep_alive.validate_python(written) == FOREVER


@pytest.mark.parametrize("written", ["", "soon", "5 m", "m", "5x", True, None, [], "nan", "1e9999"])
def test_anything_else_is_refused_with_an_example(written: object) -> None:
    with pytest.raises(ValidationError, match="1h30m"):
        keep_alive.validate_python(written)
