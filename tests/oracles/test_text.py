"""Token ids and prompts are llama.cpp's, with the real vocabulary and chat template of Qwen3.5.

llama.cpp reads both from a model file, so this writes one: the real vocabulary on tiny layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from headlong.gguf import open_gguf
from headlong.tokenizer import ChatTemplate, Tokenizer, Vocabulary
from oracles.llama_cpp import Model, Worker
from tiny import TinySpec, write_tiny
from tiny_vocab import TinyVocab

pytestmark = pytest.mark.oracle

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "qwen35"

PIECES = (
    *"abcxyzABCZ", *("    \n\n\r\t", " ", "  ", "\n", "\r\n"), *"0123456789",
    *"'.,!?-_()[]{}\"/\\<|>#@",
    *"äöüßéèñçøåÀÉ", *"日本語中文字汉한국어", *"кириллица", *"עברית", *"हिन्दी", *"ไทย",
    "e\u0301", "\u0301", "\u200d", "\u200b", "🎉", "👩‍👩‍👧", "\u3000", "\xa0", "\u2028", "\x7f",
    "\ufeff", "ﬁ", "Ⅷ", "½", "٣", "\U0010ffff", "'s", "'LL", "'re", " the", "ing", "def ", "return",
    "<|im_end|>", "<|im_start|>", "<|endoftext|>", "<think>", "</think>", "<|im_", "end|>",
)  # fmt: skip

USER = {"role": "user", "content": " What is 2 + 2? "}
SYSTEM = {"role": "system", "content": "Be brief."}
THOUGHT = {"role": "assistant", "content": "<think>\nEasy.\n</think>\n\n4."}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Adds numbers",
            "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
        },
    }
]
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
    ],
}
RESULT = {"role": "tool", "tool_call_id": "1", "content": "4"}
CONVERSATIONS: dict[str, tuple[list[dict[str, object]], dict[str, object]]] = {
    "question": ([USER], {}),
    "system": ([SYSTEM, USER], {}),
    "earlier thoughts are dropped": ([SYSTEM, USER, THOUGHT, USER], {}),
    "tools": ([SYSTEM, USER], {"tools": TOOLS}),
    "tool loop": ([USER, CALL, RESULT], {"tools": TOOLS}),
    "after a tool loop": ([USER, CALL, RESULT, THOUGHT, USER], {"tools": TOOLS}),
}


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    if not DATA.is_dir():
        pytest.skip("the folder ../shared/data/qwen35 with Qwen3.5's files is absent")
    with open_gguf(DATA / "ggml-vocab-qwen35.gguf") as file:
        return Vocabulary.from_metadata(file.metadata)


@pytest.fixture(scope="module")
def template() -> str:
    return (DATA / "chat_template.jinja").read_text()


@pytest.fixture(scope="module")
def opened(
    llama: Worker,
    vocabulary: Vocabulary,
    template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Model]:
    spec = TinySpec(
        vocab=len(vocabulary.tokens), hidden=32, layers=2, full_attention_interval=2, ffn=32,
        heads=1, kv_heads=1, head_dim=32, n_rot=8, key_heads=1, value_heads=1, state_size=32,
        tied=True, mtp=False, weights="Q4_0",
    )  # fmt: skip
    types = tuple(int(kind) for kind in vocabulary.types)
    vocab = TinyVocab(tuple(vocabulary.tokens), types, tuple(vocabulary.merges), template)
    path = tmp_path_factory.mktemp("vocabulary") / "real.gguf"
    with llama.open(write_tiny(path, spec, vocab).path) as model:
        yield model


@pytest.mark.parametrize("special", [True, False])
def test_token_ids(opened: Model, vocabulary: Vocabulary, special: bool) -> None:
    rng = np.random.default_rng(7)
    tokenizer = Tokenizer(vocabulary)
    texts = ["".join(rng.choice(PIECES, rng.integers(1, 40))) for _ in range(300)]
    differing = [
        text
        for text in texts
        if tokenizer.encode(text, special=special) != opened.tokenize(text, special=special)
    ]
    assert not differing
    assert len({token for text in texts for token in tokenizer.encode(text)}) > 300


@pytest.mark.parametrize(("messages", "more"), CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_prompts(
    opened: Model, template: str, messages: list[dict[str, object]], more: dict[str, object]
) -> None:
    tools = more.get("tools")
    assert tools is None or isinstance(tools, list)
    ours = ChatTemplate(template).render(messages, tools=tools)
    assert ours.text == opened.apply_template(messages, **more)
