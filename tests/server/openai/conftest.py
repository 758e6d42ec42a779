"""What the tests of OpenAI's endpoints share."""

from __future__ import annotations

import pytest
from scripted import bundled_tokenizer

from headlong.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """The bundled model's, which has tokens for reasoning and calls."""
    return bundled_tokenizer()
