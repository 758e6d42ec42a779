from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headlong.engine.text import TextStream
from headlong.tokenizer import Tokenizer, Vocabulary
from tiny_vocab import TinyVocab, tiny_vocab

TINY: TinyVocab = tiny_vocab(300)
TOKENIZER = Tokenizer(
    Vocabulary(
        tokens=TINY.tokens,
        types=TINY.types,
        merges=TINY.merges,
        pre="qwen35",
        eos_id=TINY.end_of_turn,
        bos_id=TINY.end_of_text,
        add_bos=False,
        chat_template=None,
    )
)


@given(
    text=st.text("ab𝄞é", max_size=20),
    stops=st.lists(st.text("ab𝄞é", min_size=1, max_size=3), max_size=2),
    # As many as there can be tokens: 20 characters of up to four bytes.
    cuts=st.lists(st.integers(1, 5), min_size=80, max_size=80),
)
def test_how_tokens_come_makes_no_difference(text: str, stops: list[str], cuts: list[int]) -> None:
    """However many at once: the same text, ended by the same token."""
    tokens = TOKENIZER.encode(text)
    one_by_one = TextStream(TOKENIZER, tuple(stops), special=False)
    expected, count = "", 0
    for token in tokens:
        piece = one_by_one.feed([token])
        expected += piece.text
        count += piece.tokens
        if piece.stopped:
            break
    expected += one_by_one.flush()
    stream = TextStream(TOKENIZER, tuple(stops), special=False)
    got, taken, at = "", 0, 0
    for cut in cuts:
        piece = stream.feed(tokens[at : at + cut])
        got += piece.text
        taken += piece.tokens
        at += cut
        if piece.stopped:
            break
    got += stream.flush()
    assert (got, taken, stream.stop) == (expected, count, one_by_one.stop)
    met = [text.index(stop) + len(stop) for stop in stops if stop in text]
    if met:
        assert stream.stop is not None
        assert got == text[: min(met)].removesuffix(stream.stop)
    else:
        assert (got, taken, stream.stop) == (text, len(tokens), None)


def test_nothing_is_shown_that_may_still_be_part_of_a_stop_string() -> None:
    stream = TextStream(TOKENIZER, ("abc",), special=False)
    assert stream.feed(TOKENIZER.encode("xab")).text == "x"
    assert stream.feed(TOKENIZER.encode("x")).text == "abx"
    assert stream.feed(TOKENIZER.encode("ab")).text == ""
    assert stream.flush() == "ab"


@pytest.mark.parametrize(("special", "text"), [(False, "ab"), (True, "a<|im_end|>b")])
def test_control_tokens(special: bool, text: str) -> None:
    stream = TextStream(TOKENIZER, (), special=special)
    tokens = [*TOKENIZER.encode("a"), TINY.end_of_turn, *TOKENIZER.encode("b")]
    assert stream.feed(tokens).text == text
