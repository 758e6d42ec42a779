import pytest
from hypothesis import given
from hypothesis import strategies as st

from headlong.errors import ParameterError
from headlong.speculation import Auto, DraftLength, Fixed


@pytest.mark.parametrize(
    ("value", "setting"),
    [
        ("auto", Auto(7)),
        (" AUTO ", Auto()),
        ("0", Fixed(0)),
        ("15", Fixed(15)),
        (" 3", Fixed(3)),
        (7, Fixed(7)),
    ],
)
def test_parse(value: str | int, setting: DraftLength) -> None:
    parsed = DraftLength.parse(value)
    assert parsed == setting
    assert type(parsed) is type(setting)


BAD = ["", "-1", "16", "1.5", "many", "\u0663", "9" * 5000, -1, 16, True, 2.0, None]


@pytest.mark.parametrize("value", BAD, ids=lambda v: repr(v)[:12])
def test_refused(value: str | int) -> None:
    with pytest.raises(ParameterError, match="--spec-draft-n-max") as caught:
        DraftLength.parse(value)
    assert "from 0 to 15" in str(caught.value)


def test_a_long_text_does_not_flood_the_message() -> None:
    with pytest.raises(ParameterError) as caught:
        DraftLength.parse("9" * 5000)
    assert len(str(caught.value)) < 300


def test_fixed_and_auto_differ() -> None:
    assert Fixed(3) != Auto(3)


@given(st.integers(0, 15), st.none() | st.integers(0, 15), st.integers(0, 100))
def test_cap_is_the_tightest_limit(n: int, own: int | None, room: int) -> None:
    cap = Auto(n).cap(own, room)
    assert 0 <= cap <= n
    assert cap <= max(0, room - 1)
    assert own is None or cap <= own
    assert cap in {n, own, max(0, room - 1)}
    assert cap == Fixed(n).cap(own, room)
