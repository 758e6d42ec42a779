"""The numpy reference computes what llama.cpp and transformers compute.

Both oracles run a float copy of the file (see `oracles.twin`), so quantised kernels of theirs do
not blur the comparison, and keep keys and values in float16 as we do. Measured over all cases:

    transformers   0.0008 at most, 0.00008 root mean square: a key or value near the middle
                   between two float16 numbers is rounded either way
    llama.cpp      0.003 at most, 0.0007 root mean square: it also rounds queries and attention
                   weights to float16 (transformers and llama.cpp differ as much from each other)

in natural log-probability; logits have a standard deviation of 3.
"""

from __future__ import annotations

import pytest

from headlong.ops.reference import ReferenceOps
from oracles import hf
from oracles.cases import (
    HEADS,
    LAYOUTS,
    SHAPES,
    WEIGHT_TYPES,
    Difference,
    log_softmax,
    random_tokens,
)
from oracles.conftest import TinyMaker, TwinMaker
from oracles.llama_cpp import Settings, Worker
from oracles.ours import Ours
from tiny import TinySpec

pytestmark = pytest.mark.oracle

TRANSFORMERS_LIMIT = Difference(rms=5e-4, largest=2e-3)
LLAMA_LIMIT = Difference(rms=1.5e-3, largest=8e-3)

# Longer than a page of the KV cache (64 positions), so that attention crosses pages.
LONG = 150


def within(difference: Difference, limit: Difference) -> bool:
    return difference.rms < limit.rms and difference.largest < limit.largest


@pytest.mark.parametrize("shape", (SHAPES | LAYOUTS).values(), ids=(SHAPES | LAYOUTS).keys())
def test_shapes_against_llama_cpp(llama: Worker, tiny: TinyMaker, shape: TinySpec) -> None:
    model, tokens = tiny(shape), random_tokens(LONG)
    ours = log_softmax(Ours(model.path, ReferenceOps()).run(tokens).logits)
    first = LONG - 15
    with llama.open(model.path, Settings(kv_type="F16")) as opened:
        early = opened.all_log_probs(tokens[:12], shape.vocab)
        late = opened.all_log_probs(tokens, shape.vocab, first)
    assert within(Difference.between(ours[:12], early), LLAMA_LIMIT)
    assert within(Difference.between(ours[first - 1 :], late), LLAMA_LIMIT)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.usefixtures("transformers")
def test_shapes_against_transformers(tiny: TinyMaker, shape: TinySpec) -> None:
    model, tokens = tiny(shape), random_tokens(LONG)
    ours = Ours(model.path, ReferenceOps()).run(tokens)
    theirs = hf.Trunk(model.path).run(tokens)
    difference = Difference.between(log_softmax(ours.logits), log_softmax(theirs.logits))
    assert within(difference, TRANSFORMERS_LIMIT)
    assert within(Difference.between(ours.hidden, theirs.hidden), TRANSFORMERS_LIMIT)


@pytest.mark.parametrize("random_blocks", [False, True], ids=["encoded", "random bits"])
@pytest.mark.parametrize("weights", WEIGHT_TYPES)
def test_weight_types_against_llama_cpp(
    llama: Worker, tiny: TinyMaker, twin: TwinMaker, weights: str, random_blocks: bool
) -> None:
    model = tiny(TinySpec(weights=weights, random_blocks=random_blocks))
    tokens = random_tokens(16)
    ours = log_softmax(Ours(model.path, ReferenceOps()).run(tokens).logits)
    with llama.open(twin(model), Settings(kv_type="F16")) as opened:
        theirs = opened.all_log_probs(tokens, model.spec.vocab)
    assert within(Difference.between(ours, theirs), LLAMA_LIMIT)


@pytest.mark.parametrize("random_blocks", [False, True], ids=["encoded", "random bits"])
@pytest.mark.parametrize("weights", WEIGHT_TYPES)
@pytest.mark.usefixtures("transformers")
def test_weight_types_against_transformers(
    tiny: TinyMaker, twin: TwinMaker, weights: str, random_blocks: bool
) -> None:
    model = tiny(TinySpec(weights=weights, random_blocks=random_blocks))
    tokens = random_tokens(40)
    ours = log_softmax(Ours(model.path, ReferenceOps()).run(tokens).logits)
    theirs = log_softmax(hf.Trunk(twin(model)).run(tokens).logits)
    assert within(Difference.between(ours, theirs), TRANSFORMERS_LIMIT)


@pytest.mark.parametrize("length", [2, 3, 70])
@pytest.mark.parametrize("spec", HEADS.values(), ids=HEADS.keys())
@pytest.mark.usefixtures("transformers")
def test_drafts_against_transformers(tiny: TinyMaker, length: int, spec: TinySpec) -> None:
    """Draft logits of the MTP head, each step fed with the drafts before it."""
    model, tokens = tiny(spec), random_tokens(length)
    ours = Ours(model.path, ReferenceOps()).draft(tokens, 5)
    theirs = hf.MtpHead(model.path, hf.Trunk(model.path), zero_row=False).draft(tokens, 5)
    for mine, other in zip(ours, theirs, strict=True):
        difference = Difference.between(log_softmax(mine), log_softmax(other))
        assert within(difference, TRANSFORMERS_LIMIT)
        assert mine.argmax() == other.argmax()


def test_the_comparison_can_fail(llama: Worker, tiny: TinyMaker) -> None:
    """A slightly different model is far outside the limits."""
    tokens = random_tokens(16)
    ours = log_softmax(Ours(tiny(SHAPES["default"]).path, ReferenceOps()).run(tokens).logits)
    changed = tiny(TinySpec(weights="F32", rope_base=9e6))
    with llama.open(changed.path, Settings(kv_type="F16")) as opened:
        theirs = opened.all_log_probs(tokens, 320)
    assert not within(Difference.between(ours, theirs), LLAMA_LIMIT)
