"""Whole greedy texts: our engine writes what llama.cpp writes, and its drafts fare as predicted.

In float the two differ by less than `FLOAT_GAP` in any log-probability (see `test_reference`), so
texts may part only where the best two tokens are closer than twice that.
"""

from __future__ import annotations

import numpy as np
import pytest

from headlong.ops.reference import ReferenceOps
from oracles import hf
from oracles.cases import random_tokens
from oracles.conftest import TinyMaker
from oracles.llama_cpp import Model, Settings, Worker
from oracles.ours import Ours
from oracles.speculate import simulate
from tiny import Chain, Tiny, TinySpec

pytestmark = pytest.mark.oracle

FLOAT_GAP = 8e-3
TOKENS = 60

CHAIN = TinySpec(weights="F32", chain=Chain(misleading=0.3, mix=1.2))
MODELS = {
    "random": TinySpec(weights="F32"),
    "random, tied": TinySpec(weights="F32", tied=True, value_heads=8, state_size=32),
    "chain": CHAIN,
}


def assert_same_text(
    opened: Model, prompt: list[int], ours: tuple[int, ...], theirs: tuple[int, ...], gap: float
) -> None:
    """Both texts are equal, or part where the oracle finds two tokens equally good."""
    if ours == theirs:
        return
    at = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
    log_probs = opened.log_probs([*prompt, *theirs[:at]], 320)
    assert log_probs[theirs[at]] - log_probs[ours[at]] < 2 * gap
    # A tie so early would leave nothing compared: choose another seed.
    assert at >= TOKENS // 3


@pytest.mark.parametrize("spec", MODELS.values(), ids=MODELS.keys())
def test_greedy_text_is_llama_cpps(llama: Worker, tiny: TinyMaker, spec: TinySpec) -> None:
    model, prompt = tiny(spec), random_tokens(70)
    ours = Ours(model.path, ReferenceOps()).greedy(prompt, TOKENS)
    assert ours.drafted == 0
    with llama.open(model.path, Settings(kv_type="F16")) as opened:
        theirs = opened.greedy(prompt, TOKENS)
        assert_same_text(opened, prompt, ours.tokens, theirs.tokens, FLOAT_GAP)


@pytest.mark.parametrize("draft", [1, 2, 4])
def test_drafts_fare_as_llama_cpps(llama: Worker, tiny: TinyMaker, draft: int) -> None:
    """On a chain the drafts hardly depend on the one row of the head that llama.cpp adds."""
    model, prompt = tiny(CHAIN), random_tokens(7)
    ours = Ours(model.path, ReferenceOps()).greedy(prompt, TOKENS, draft)
    with llama.open(model.path, Settings(kv_type="F16", draft=draft)) as opened:
        theirs = opened.greedy(prompt, TOKENS)
    assert ours.tokens == theirs.tokens
    assert (ours.drafted, ours.accepted) == (theirs.drafted, theirs.accepted)
    assert 0 < ours.accepted < ours.drafted


def simulated(model: Tiny, prompt: list[int], text: tuple[int, ...], draft: int) -> tuple[int, int]:
    head = hf.MtpHead(model.path, hf.Trunk(model.path), zero_row=False)
    return simulate(head, prompt, text, draft)


@pytest.mark.parametrize("draft", [1, 3, 6])
@pytest.mark.usefixtures("transformers")
def test_drafts_are_accepted_as_predicted(tiny: TinyMaker, draft: int) -> None:
    """Drafted and accepted tokens are those of an MTP head that recomputes everything each round.

    The engine's head keeps its cache between rounds and repairs the rows that drafting left in it.
    """
    model, prompt = tiny(CHAIN), random_tokens(9, seed=1)
    ours = Ours(model.path, ReferenceOps()).greedy(prompt, TOKENS, draft)
    assert simulated(model, prompt, ours.tokens, draft) == (ours.drafted, ours.accepted)
    assert 0 < ours.accepted < ours.drafted


def test_a_wrong_text_is_noticed(llama: Worker, tiny: TinyMaker) -> None:
    model, prompt = tiny(CHAIN), random_tokens(7)
    with llama.open(model.path, Settings(kv_type="F16")) as opened:
        right = opened.greedy(prompt, TOKENS).tokens
        wrong = (*right[:30], int(np.setdiff1d(model.likely, right)[0]), *right[31:])
        with pytest.raises(AssertionError):
            assert_same_text(opened, prompt, wrong, right, FLOAT_GAP)
