"""The oracles agree with each other, so that agreeing with them means something.

Measured: llama.cpp with an F32 KV cache and transformers differ by at most 9e-5 in any
log-probability, and make the same drafts in every case tried.
"""

from __future__ import annotations

import pytest

from oracles import hf
from oracles.cases import HEADS, SHAPES, Difference, log_softmax, random_tokens
from oracles.conftest import TinyMaker
from oracles.llama_cpp import OracleError, Settings, Worker
from oracles.speculate import simulate
from tiny import Chain, TinySpec

pytestmark = pytest.mark.oracle

with_transformers = pytest.mark.usefixtures("transformers")


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@with_transformers
def test_trunks_agree(llama: Worker, tiny: TinyMaker, shape: TinySpec) -> None:
    model, tokens = tiny(shape), random_tokens(40)
    theirs = hf.Trunk(model.path, kv_type="F32").run(tokens)
    with llama.open(model.path) as opened:
        log_probs = opened.all_log_probs(tokens, shape.vocab)
    assert Difference.between(log_softmax(theirs.logits), log_probs).largest < 3e-4


@with_transformers
def test_hidden_states_agree(llama: Worker, tiny: TinyMaker) -> None:
    model, tokens = tiny(SHAPES["default"]), random_tokens(40)
    theirs = hf.Trunk(model.path, kv_type="F32").run(tokens)
    with llama.open(model.path, Settings(hidden=True)) as opened:
        assert Difference.between(opened.hidden(tokens), theirs.hidden).largest < 1e-4


@pytest.mark.parametrize("length", [1, 10])
@pytest.mark.parametrize("spec", HEADS.values(), ids=HEADS.keys())
@with_transformers
def test_llama_cpp_accepts_the_drafts_computed_here(
    llama: Worker, tiny: TinyMaker, length: int, spec: TinySpec
) -> None:
    """Made to say what our MTP oracle drafts, llama.cpp's trunk accepts its own head's drafts."""
    model = tiny(spec)
    head = hf.MtpHead(model.path, hf.Trunk(model.path, kv_type="F32"), zero_row=True)
    prompt = list(model.likely[5 : 5 + length])
    forced = 0
    for newest in model.likely[:12]:
        drafts = [int(row.argmax()) for row in head.draft([*prompt, newest], 4)]
        if not set(drafts) <= set(model.likely):
            continue  # llama.cpp cannot be made to say these
        forced += 1
        with llama.open(model.path, Settings(draft=4)) as opened:
            said = opened.forced(prompt, [newest, *drafts, model.likely[0]])
        assert (said.drafted, said.accepted) == (4, 4)
    assert forced > 6


@pytest.mark.parametrize("count", [1, 2, 3])
@with_transformers
def test_acceptance_is_predicted(llama: Worker, tiny: TinyMaker, count: int) -> None:
    """Drafted and accepted tokens of a whole text, from the drafts computed here."""
    model = tiny(TinySpec(weights="F32", chain=Chain(misleading=0.3, mix=1.2)))
    trunk = hf.Trunk(model.path, kv_type="F32")
    head = hf.MtpHead(model.path, trunk, zero_row=True)
    prompt = random_tokens(7)
    with llama.open(model.path, Settings(draft=count)) as opened:
        said = opened.greedy(prompt, 48)
    assert simulate(head, prompt, said.tokens, count) == (said.drafted, said.accepted)
    assert 0 < said.accepted < said.drafted


def test_speculation_leaves_llama_cpp_text_alone(llama: Worker, tiny: TinyMaker) -> None:
    model, prompt = tiny(TinySpec(weights="F32", chain=Chain())), random_tokens(7)
    texts = set()
    for count in (0, 1, 4):
        with llama.open(model.path, Settings(draft=count)) as opened:
            texts.add(opened.greedy(prompt, 48).tokens)
    assert len(texts) == 1


def test_a_broken_file_is_reported_and_survived(llama: Worker, tiny: TinyMaker) -> None:
    model = tiny(SHAPES["default"])
    broken = model.path.with_name("broken.gguf")
    broken.write_bytes(model.path.read_bytes()[:5000])
    with pytest.raises(OracleError, match="cannot load"), llama.open(broken):
        pass
    with llama.open(model.path) as opened:
        assert opened.log_probs([1, 2, 3], 320).shape == (320,)
