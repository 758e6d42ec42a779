import pytest
from hypothesis import settings

from headlong.tokenizer import Tokenizer, Vocabulary
from tiny_vocab import CHAT_TEMPLATE, tiny_vocab

TINY_SIZE = 300

# A busy machine may take long over any one example.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


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
