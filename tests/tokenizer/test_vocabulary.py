from dataclasses import replace
from pathlib import Path

import pytest

from headlong.errors import ModelError, TokenizerError, UnsupportedError
from headlong.gguf import GGUFWriter, open_gguf
from headlong.tokenizer import Tokenizer, TokenType, Vocabulary
from tiny_vocab import tiny_vocab

PREFIX = "tokenizer.ggml."


def write_file(path: Path, **changes: object) -> Path:
    """A file with a tiny vocabulary; `changes` replace values by key, None leaves a key out."""
    tiny = tiny_vocab(300)
    values: dict[str, object] = {
        "model": "gpt2",
        "pre": "qwen35",
        "tokens": list(tiny.tokens),
        "token_type": list(tiny.types),
        "merges": list(tiny.merges),
        "eos_token_id": tiny.end_of_turn,
        "add_bos_token": False,
    } | changes
    writer = GGUFWriter(path)
    for key, value in values.items():
        name = key if "." in key else PREFIX + key
        match value:
            case None:
                continue
            case bool():
                writer.add_bool(name, value)
            case int():
                writer.add_uint32(name, value)
            case str():
                writer.add_string(name, value)
            case [str(), *_]:
                writer.add_strings(name, value)
            case [*numbers]:
                writer.add_ints(name, numbers)
    writer.write()
    return path


def read_file(path: Path, **changes: object) -> Vocabulary:
    with open_gguf(write_file(path / "vocabulary.gguf", **changes)) as file:
        return Vocabulary.from_metadata(file.metadata)


def test_everything_in_the_file_is_read(tmp_path: Path) -> None:
    tiny = tiny_vocab(300)
    vocabulary = read_file(
        tmp_path,
        bos_token_id=tiny.end_of_text,
        padding_token_id=299,
        **{
            "tokenizer.chat_template": "main",
            "tokenizer.chat_templates": ["tool_use"],
            "tokenizer.chat_template.tool_use": "with tools",
        },
    )
    assert tuple(vocabulary.tokens) == tiny.tokens
    assert tuple(vocabulary.types) == tiny.types
    assert tuple(vocabulary.merges) == tiny.merges
    assert vocabulary.size == 300
    assert vocabulary.pre == "qwen35"
    assert vocabulary.eos_id == tiny.end_of_turn
    assert vocabulary.bos_id == tiny.end_of_text
    assert vocabulary.padding_id == 299
    assert vocabulary.eot_id is None
    assert vocabulary.add_bos is False
    assert vocabulary.chat_template == "main"
    assert vocabulary.named_chat_templates == {"tool_use": "with tools"}


def test_a_file_without_types_has_text_tokens_only(tmp_path: Path) -> None:
    vocabulary = read_file(tmp_path, token_type=None)
    assert set(vocabulary.types) == {TokenType.NORMAL}


def test_a_space_prefix_is_refused_by_its_key(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="add_space_prefix"):
        read_file(tmp_path, add_space_prefix=True)


def test_missing_tokens_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.ggml\.tokens"):
        read_file(tmp_path, tokens=None)


def test_a_missing_pre_tokenizer_is_refused_when_the_tokenizer_is_made(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"tokenizer\.ggml\.pre.*qwen35"):
        Tokenizer(read_file(tmp_path, pre=None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eos_token_id": 300}, "eos_token_id: 300"),
        ({"token_type": [1, 1]}, "2 types for 300 tokens"),
        ({"token_type": [9] * 300}, "unknown type 9"),
        ({"add_bos_token": True}, "bos_token_id is missing"),
    ],
)
def test_parts_that_do_not_fit_are_named(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(TokenizerError, match=message):
        read_file(tmp_path, **changes)


def test_an_empty_vocabulary_is_refused() -> None:
    with pytest.raises(TokenizerError, match="empty"):
        Vocabulary(tokens=(), types=(), merges=(), pre="qwen35")


def plain(*texts: str) -> Vocabulary:
    return Vocabulary(tokens=texts, types=[1] * len(texts), merges=(), pre="gpt-2")


def test_end_of_generation_unites_named_ids_and_known_texts() -> None:
    vocabulary = plain("a", "<|im_end|>", "b", "<|endoftext|>", "<|file_sep|>", "c")
    assert vocabulary.end_of_generation() == {1, 3, 4}
    assert replace(vocabulary, eos_id=0, eom_id=5).end_of_generation() == {0, 1, 3, 4, 5}


def test_end_is_no_end_of_generation_beside_return_and_call() -> None:
    assert plain("<|end|>", "<|return|>").end_of_generation() == {0, 1}
    assert plain("<|end|>", "<|return|>", "<|call|>").end_of_generation() == {1, 2}


def test_kinds_correct_two_known_mistakes_of_converters() -> None:
    vocabulary = Vocabulary(
        tokens=("<|im_end|>", "[PAD1]", "[PAD7]", "x"), types=(4, 4, 4, 1), merges=(), pre="gpt-2"
    )
    assert vocabulary.kinds() == [
        TokenType.CONTROL,
        TokenType.UNUSED,
        TokenType.USER_DEFINED,
        TokenType.NORMAL,
    ]
