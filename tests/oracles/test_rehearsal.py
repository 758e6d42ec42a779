"""Rehearsal files in llama.cpp: the same chain, and drafts accepted exactly as planned."""

from __future__ import annotations

from pathlib import Path

import pytest

from headlong.tools.synth import Rehearsal, Size, find_mix, write_rehearsal
from headlong.tools.synth.chain import Chain
from oracles.llama_cpp import Settings, Worker
from rehearsal_sizes import TIED, UNTIED

pytestmark = pytest.mark.oracle

PROMPT = [65, 400, 300]
TOKENS = 120


@pytest.mark.parametrize("size", [TIED, UNTIED], ids=lambda size: size.name)
@pytest.mark.parametrize("mix", ["Q4_K_M", "Q8_0", "Q4_1", "Q3_K_M", "IQ4_XS", "BF16"])
def test_llama_cpp_follows_the_chain(llama: Worker, tmp_path: Path, size: Size, mix: str) -> None:
    path = tmp_path / "rehearsal.gguf"
    chain = write_rehearsal(path, size, find_mix(mix), Rehearsal(0.7)).chain
    with llama.open(path, Settings(draft=3)) as model:
        answer = model.greedy(PROMPT, TOKENS)
    text = [PROMPT[-1]]
    for _ in range(TOKENS):
        text.append(int(chain.tokens[chain.follower[text[-1]]]))
    assert list(answer.tokens) == text[1:]
    assert (answer.drafted, answer.accepted) == planned(chain, text, 3)


def planned(chain: Chain, text: list[int], drafts: int) -> tuple[int, int]:
    """Drafts made and accepted by the chain alone; the first token comes with the prompt."""
    drafted = accepted = 0
    at = 1
    while at < len(text) - 1:
        count = min(drafts, len(text) - at - 2)
        right = 0
        while right < count:
            token = text[at + right]
            if chain.drafted[token] != chain.follower[token]:
                break
            right += 1
        drafted, accepted, at = drafted + count, accepted + right, at + right + 1
    return drafted, accepted
