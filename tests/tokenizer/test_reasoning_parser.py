import pytest
from chunks import chunks_of
from hypothesis import given
from hypothesis import strategies as st

from headlong.tokenizer import ReasoningParser, opens_reasoning


def split(chunks: list[str], opened: bool) -> tuple[str, str]:
    parser = ReasoningParser(opened)
    deltas = [*map(parser.feed, chunks), parser.flush()]
    return "".join(d.reasoning for d in deltas), "".join(d.content for d in deltas)


@pytest.mark.parametrize(
    ("text", "opened", "reasoning", "content"),
    [
        ("I add.\n</think>\n\nFour.", True, "I add.", "Four."),
        ("<think>\nI add.\n</think>\n\nFour.", False, "I add.", "Four."),
        ("\n<think>\nI add.\n</think>\n\nFour.", True, "I add.", "Four."),
        ("Four.", False, "", "Four."),
        ("\n Four.", False, "", "\n Four."),
        ("cut off\n", True, "cut off\n", ""),
        ("\n</think>\n\nFour.", True, "", "Four."),
        ("<think>\n\n</think>\n\nFour.\n", False, "", "Four.\n"),
        ("Say <think> aloud</think>", False, "", "Say <think> aloud</think>"),
        ("a</think>b</think>c", True, "a", "b</think>c"),
        ("a\n\nb</thin", True, "a\n\nb</thin", ""),
        ("<thi", False, "", "<thi"),
        ("", True, "", ""),
    ],
)
def test_splitting(text: str, opened: bool, reasoning: str, content: str) -> None:
    assert split([text], opened) == (reasoning, content)
    assert split(list(text), opened) == (reasoning, content)


def test_text_comes_out_as_soon_as_it_is_certain() -> None:
    parser = ReasoningParser(opened=True)
    assert parser.reasoning
    assert parser.feed("Let me ").reasoning == "Let me "
    assert parser.feed("see\n").reasoning == "see"
    assert parser.feed("</th").reasoning == ""
    delta = parser.feed("ink>\n\nYes")
    assert (delta.reasoning, delta.content) == ("", "Yes")
    assert not parser.reasoning


PIECES = ["<think>", "</think>", "\n", " ", "word", "<", "</th", "think>"]


def expected(text: str, opened: bool) -> tuple[str, str]:
    """The definition, on the whole text."""
    if text.lstrip().startswith("<think>"):
        text = text.lstrip().removeprefix("<think>")
    elif not opened:
        return "", text
    reasoning, tag, content = text.partition("</think>")
    reasoning = reasoning.lstrip("\n")
    return (reasoning.rstrip("\n") if tag else reasoning), content.lstrip("\n")


@given(chunks=chunks_of(PIECES), opened=st.booleans())
def test_cuts_make_no_difference(chunks: list[str], opened: bool) -> None:
    assert split(chunks, opened) == expected("".join(chunks), opened)


def test_opened_by_the_prompt() -> None:
    assert opens_reasoning("<|im_start|>assistant\n<think>\n")
    assert not opens_reasoning("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert not opens_reasoning("<|im_start|>user\n<think><|im_end|>\n<|im_start|>assistant\n")
