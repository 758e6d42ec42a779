import pytest
from hypothesis import given
from hypothesis import strategies as st

from headlong.errors import HeadlongError
from headlong.sampling import TokenHistory

TOKENS = st.lists(st.integers(0, 6), max_size=30)
WINDOW = st.integers(-1, 12)


def counts(history: TokenHistory) -> dict[int, int]:
    ids, n = history.counts.entries()
    assert len(set(ids)) == len(ids)
    return dict(zip(ids, n, strict=True))


def recount(tokens: list[int], window: int) -> dict[int, int]:
    recent = tokens if window < 0 else tokens[-window:] if window else []
    return {token: recent.count(token) for token in recent}


@given(TOKENS, WINDOW)
def test_counts_are_those_of_the_window(tokens: list[int], window: int) -> None:
    assert counts(TokenHistory(tokens, window)) == recount(tokens, window)


@given(TOKENS, TOKENS, TOKENS, WINDOW, st.data())
def test_rolled_back_is_as_never_appended(
    kept: list[int], draft: list[int], after: list[int], window: int, data: st.DataObject
) -> None:
    history = TokenHistory(kept, window)
    history.extend(draft)
    rejected = data.draw(st.integers(0, len(draft)))
    history.truncate(len(history) - rejected)
    history.extend(after)
    tokens = kept + draft[: len(draft) - rejected] + after
    assert history[:] == tokens
    assert len(history) == len(tokens)
    assert counts(history) == recount(tokens, window)


@given(st.lists(st.one_of(st.integers(0, 4), st.floats(0, 1)), max_size=60), WINDOW)
def test_any_mix_of_appends_and_cuts(steps: list[int | float], window: int) -> None:
    history, tokens = TokenHistory(window=window), list[int]()
    for step in steps:
        if isinstance(step, int):
            history.append(step)
            tokens.append(step)
        else:
            length = int(step * len(tokens))
            history.truncate(length)
            del tokens[length:]
        assert counts(history) == recount(tokens, window)
        assert history[:] == tokens


def test_reads_like_a_sequence() -> None:
    history = TokenHistory([5, 6, 7], window=2)
    assert (history[0], history[-1], history[-2:]) == (5, 7, [6, 7])
    assert history.window == 2


@pytest.mark.parametrize("length", [-1, 4])
def test_cannot_be_cut_to_another_length(length: int) -> None:
    with pytest.raises(HeadlongError, match="3 tokens cannot be cut"):
        TokenHistory([1, 2, 3]).truncate(length)


def test_a_window_below_minus_one_is_refused() -> None:
    with pytest.raises(HeadlongError, match="-2"):
        TokenHistory([], window=-2)
