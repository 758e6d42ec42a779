"""What the tests of OpenAI's endpoints share."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from scripted import TOOL_TEMPLATE, bundled_tokenizer
from serving import Served, serving
from serving_engines import loads

from headlong.tokenizer import Tokenizer
from headlong.tools.demo import bundled_model


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """The bundled model's, which has tokens for reasoning and calls."""
    return bundled_tokenizer()


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    template = tmp_path_factory.mktemp("template") / "tools.jinja"
    template.write_text(TOOL_TEMPLATE)
    with (
        bundled_model() as path,
        serving(
            loads(path, sequences=4, cache_ram=64),
            chat_template_file=template,
            alias=("tiny", "small"),
        ) as it,
    ):
        yield it


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as made:
        yield made
