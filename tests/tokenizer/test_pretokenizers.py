import itertools

import pytest

from headlong.errors import UnsupportedError
from headlong.tokenizer.pretokenizers import PRE_TOKENIZERS, find_pre_tokenizer

SPACE, NEWLINE = "Ġ", "Ċ"  # how byte-level text writes them


def words(name: str, text: str) -> list[str]:
    pieces = find_pre_tokenizer(name).build().pre_tokenize_str(text)
    return [piece.replace(SPACE, " ").replace(NEWLINE, "\n") for piece, _ in pieces]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("qwen35", ["Don", "'T", " pay", " ", "1", "2", "3", "4", "!!\n", "\n", "  ", " now"]),
        ("qwen2", ["Don", "'T", " pay", " ", "1", "2", "3", "4", "!!\n", "\n", "  ", " now"]),
        ("llama-bpe", ["Don", "'T", " pay", " ", "123", "4", "!!\n", "\n", "  ", " now"]),
        ("gpt-4o", ["Don'T", " pay", " ", "123", "4", "!!\n", "\n", "  ", " now"]),
        ("tekken", ["Don", "'T", " pay", " ", "1", "2", "3", "4", "!!\n", "\n", "  ", " now"]),
        ("deepseek-v3", ["Don", "'T", " pay", " ", "123", "4", "!!\n", "\n", "  ", " now"]),
    ],
)
def test_words(name: str, expected: list[str]) -> None:
    # The newline run is cut after the first because it ends the punctuation.
    assert words(name, "Don'T pay 1234!!\n\n   now") in (
        expected,
        [*expected[: expected.index("!!\n")], "!!\n\n", "  ", " now"],
    )


def test_gpt2_knows_lower_case_contractions_only() -> None:
    assert words("gpt-2", "it's 'S 12") == ["it", "'s", " '", "S", " 12"]
    assert words("smollm", "it's 12") == ["it", "'s", " ", "1", "2"]


def test_marks_are_letters_for_qwen35_but_not_for_qwen2() -> None:
    decomposed = "e\u0301a"
    assert len(words("qwen35", decomposed)) == 1
    assert len(words("qwen2", decomposed)) == 2


def test_tekken_cuts_at_a_change_of_case() -> None:
    assert words("tekken", "camelCaseHTTPServer") == ["camel", "Case", "HTTPServer"]


def test_deepseek_cuts_chinese_from_latin() -> None:
    assert len(words("deepseek-v3", "ab你好")) == 2
    assert len(words("qwen2", "ab你好")) == 1


@pytest.mark.parametrize("name", sorted(PRE_TOKENIZERS))
def test_no_pattern_loses_text(name: str) -> None:
    text = "x  y\t\r\n\n Ä'd 12345 \u0301\u200b你 🚀!? a.b/c-d\n "
    pieces = find_pre_tokenizer(name).build().pre_tokenize_str(text)
    spans = [span for _, span in pieces]
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)
    assert all(left[1] == right[0] for left, right in itertools.pairwise(spans))


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnsupportedError, match=r"'nonesuch' is not known; known are .*qwen35"):
        find_pre_tokenizer("nonesuch")
