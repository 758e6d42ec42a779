"""The rule of acceptance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headlong.speculation import Verdict, verify

TOKENS = st.lists(st.integers(0, 2), max_size=15)


@given(TOKENS, st.lists(st.integers(0, 2), min_size=16, max_size=16))
def test_keeps_what_the_target_samples(draft: list[int], target: list[int]) -> None:
    asked: list[int] = []

    def sample_row(row: int) -> int:
        asked.append(row)
        return target[row]

    verdict = verify(draft, sample_row)
    same = [d == t for d, t in zip(draft, target, strict=False)]
    accepted = [*same, False].index(False)
    assert verdict == Verdict(accepted, tuple(target[: accepted + 1]))
    assert asked == list(range(accepted + 1))  # each row once, in order, none behind a mismatch


@given(st.integers(0, 10**6), st.lists(TOKENS, min_size=1, max_size=30))
def test_any_drafts_give_the_text_of_none(start: int, drafts: list[list[int]]) -> None:
    # A target that looks at the whole text, so that a wrong row shows.
    def sample(text: list[int]) -> int:
        return hash((start, *text)) % 3

    plain: list[int] = []
    fast: list[int] = []
    for draft in drafts:
        rows = [sample(fast + draft[:n]) for n in range(len(draft) + 1)]
        fast.extend(verify(draft, rows.__getitem__).tokens)
    while len(plain) < len(fast):
        plain.append(sample(plain))
    assert fast == plain


def test_no_draft_is_plain_decoding() -> None:
    assert verify((), lambda row: 7 + row) == Verdict(0, (7,))


def test_errors_of_the_sampler_pass_through() -> None:
    def broken(row: int) -> int:
        raise ValueError("bad row")

    with pytest.raises(ValueError, match="bad row"):
        verify([1], broken)
