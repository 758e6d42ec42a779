import pytest
from chunks import chunks_of
from hypothesis import given
from hypothesis import strategies as st

from headlong.errors import ParameterError
from headlong.tokenizer import StopMatcher


def run(stops: list[str], chunks: list[str]) -> tuple[str, str | None]:
    matcher = StopMatcher(stops)
    text = "".join(matcher.feed(chunk) for chunk in chunks)
    return text + matcher.flush(), matcher.hit


def expected(stops: list[str], text: str) -> tuple[str, str | None]:
    """The definition: look at every end in order, the longest stop string first."""
    for end in range(len(text) + 1):
        for stop in sorted(stops, key=len, reverse=True):
            if text[:end].endswith(stop):
                return text[: end - len(stop)], stop
    return text, None


def test_a_stop_string_over_three_tokens() -> None:
    matcher = StopMatcher(["</end>"])
    assert matcher.feed("Hi <") == "Hi "
    assert matcher.feed("/en") == ""
    assert matcher.feed("d> more") == ""
    assert matcher.hit == "</end>"
    assert matcher.feed("anything") == ""
    assert matcher.flush() == ""


def test_text_that_only_looked_like_a_stop_string_comes_out() -> None:
    matcher = StopMatcher(["abc"])
    assert matcher.feed("xab") == "x"
    assert matcher.feed("abd") == "ababd"
    assert matcher.feed("ab") == ""
    assert matcher.flush() == "ab"
    assert matcher.hit is None


def test_the_stop_string_complete_first_wins() -> None:
    assert run(["abcd", "bc"], ["abcd"]) == ("a", "bc")
    assert run(["END", "STOP"], ["a STOP b END"]) == ("a ", "STOP")


def test_of_two_complete_together_the_earlier_begun_wins() -> None:
    assert run(["c", "bc", "abc"], ["xabc"]) == ("x", "abc")


def test_no_stop_strings_hold_nothing_back() -> None:
    matcher = StopMatcher([])
    assert matcher.feed("abc") == "abc"
    assert matcher.flush() == ""


@given(chunks=chunks_of(["a", "b", "ab", "aab", "c"]), data=st.data())
def test_cuts_make_no_difference_and_nothing_is_late(
    chunks: list[str], data: st.DataObject
) -> None:
    stops = data.draw(st.lists(st.text("abc", min_size=1, max_size=5), max_size=3))
    whole = "".join(chunks)
    text, hit = expected(stops, whole)
    assert run(stops, chunks) == (text, hit)

    matcher = StopMatcher(stops)
    emitted = read = ""
    for chunk in chunks:
        emitted += matcher.feed(chunk)
        read += chunk
        assert text.startswith(emitted)
        if matcher.hit is None:
            held = read[len(emitted) :]
            assert not held or any(stop.startswith(held) for stop in stops)


def test_a_repetitive_stop_string_takes_linear_time() -> None:
    text, hit = run(["a" * 4095 + "b"], ["a" * 100_000])
    assert (len(text), hit) == (100_000, None)


@pytest.mark.parametrize(
    ("stops", "message"), [([""], "empty"), (["x" * 4097], "4097"), (["x"] * 65, "65 stop")]
)
def test_unusable_stop_strings_are_refused(stops: list[str], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        StopMatcher(stops)
