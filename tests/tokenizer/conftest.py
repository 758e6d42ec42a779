import pytest

from headlong.tokenizer import Tokenizer, Vocabulary
from tiny_vocab import CHAT_TEMPLATE, tiny_vocab

TINY_SIZE = 300


@pytest.fixture(scope="session")
def tiny_vocabulary() -> Vocabulary:
    tiny = tiny_vocab(TINY_SIZE)
    return Vocabulary(
        tokens=tiny.tokens,
        types=tiny.types,
        merges=tiny.merges,
        pre="qwen35",
        eos_id=tiny.end_of_turn,
        bos_id=tiny.end_of_text,
        add_bos=False,
        chat_template=CHAT_TEMPLATE,
    )


@pytest.fixture(scope="session")
def tiny(tiny_vocabulary: Vocabulary) -> Tokenizer:
    return Tokenizer(tiny_vocabulary)
