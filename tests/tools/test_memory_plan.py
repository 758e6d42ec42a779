"""Plans of memory: what is counted, what shrinks and in which order, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from altered import alter
from headlong import LLM
from headlong.cache.memory import CacheSize
from headlong.cache.pages import pages_for
from headlong.errors import ContextError, HeadlongError, ModelError, ParameterError
from headlong.gguf import open_gguf
from headlong.tools.available_memory import AvailableMemory
from headlong.tools.memory_plan import (
    DEFAULT_CONTEXT,
    LEAST_CONTEXT,
    MOST_PREFIX_CACHE,
    MOST_SLOTS,
    SHORTEST_CONTEXT,
    MemoryPlan,
    ModelNeeds,
    Wishes,
    plan_memory,
    read_needs,
)
from tiny import TinySpec, write_tiny

MIB, GIB = 1 << 20, 1 << 30

# Round figures: 1 GiB fixed, 1 MiB a page of 64 positions, 16 MiB of state for each slot.
NEEDS = ModelNeeds(
    weights=GIB - (200 << 20),
    head=0,
    has_head=False,
    rows=0,
    tokenizer=(200 << 20) - (160 << 20),
    logits=0,
    cache=CacheSize(MIB // 64, 0, 16 * MIB, 8 * MIB),
    context=65536,
)


def memory(gib: float) -> AvailableMemory:
    return AvailableMemory(int(gib * GIB), "in a test")


def usable(gib: float) -> int:
    available = int(gib * GIB)
    return available - max(256 * MIB, available // 16)


def plan(gib: float, **wishes: object) -> MemoryPlan:
    return plan_memory(NEEDS, Wishes(**wishes), memory(gib))  # type: ignore[arg-type]


def test_the_test_model_is_round() -> None:
    assert NEEDS.fixed == GIB
    assert NEEDS.slot(6400) == 116 * MIB


def test_with_plenty_everything_is_as_asked_for() -> None:
    made = plan(64)
    assert (made.context, made.slots) == (DEFAULT_CONTEXT, MOST_SLOTS)
    assert made.prefix_cache == MOST_PREFIX_CACHE
    assert made.shrunk == ()
    made = plan(64, context=1000, slots=20, prefix_cache=0)
    assert (made.context, made.slots, made.prefix_cache) == (1000, 20, 0)
    assert made.total == NEEDS.fixed + 20 * NEEDS.slot(1000)


def test_the_number_of_slots_is_what_there_is_room_for() -> None:
    made = plan(4, prefix_cache=0)  # 2.75 GiB for slots of 528 MiB
    assert (made.context, made.slots, made.shrunk) == (DEFAULT_CONTEXT, 5, ())


def test_kept_prompts_take_a_quarter_of_what_is_left() -> None:
    made = plan(4)
    assert made.prefix_cache == (usable(4) - GIB) // 4
    assert made.total <= usable(4)


def test_first_the_context_shrinks_then_slots_go_then_the_context_again() -> None:
    made = plan(4, slots=8, prefix_cache=0)
    assert made.slots == 8 and LEAST_CONTEXT < made.context < DEFAULT_CONTEXT
    assert made.shrunk == (f"context {made.context} instead of {DEFAULT_CONTEXT}",)
    made = plan(1.7, slots=8, prefix_cache=0)  # 0.44 GiB: five of 4096 positions
    assert made.slots == 5 and made.context >= LEAST_CONTEXT
    assert made.shrunk[1] == "5 slots instead of 8"
    made = plan(1.3, slots=8, prefix_cache=0)
    assert made.slots == 1 and SHORTEST_CONTEXT <= made.context < LEAST_CONTEXT


def test_a_short_context_is_not_shrunk_before_slots_go() -> None:
    made = plan(1.4, context=2048, slots=8, prefix_cache=0)
    assert made.context == 2048 and 1 < made.slots < 8


def test_without_fit_what_does_not_fit_is_refused_with_figures_and_flags() -> None:
    with pytest.raises(ContextError) as caught:
        plan(4, slots=8, prefix_cache=0, fit=False)
    message = str(caught.value)
    fitting = plan(4, slots=8, prefix_cache=0)
    assert "not enough memory: 5.1 GiB needed" in message
    assert "3.8 GiB usable of 4.0 GiB in a test" in message
    assert f"-c {fitting.context} would fit" in message
    again = plan(4, context=fitting.context, slots=8, prefix_cache=0, fit=False)
    assert (again.context, again.slots) == (fitting.context, fitting.slots)


@pytest.mark.parametrize("fit", [True, False])
def test_weights_that_do_not_fit_are_refused(fit: bool) -> None:
    with pytest.raises(ContextError, match="smaller model or quantisation"):
        plan(1, fit=fit)


def test_too_much_for_kept_prompts_is_named() -> None:
    with pytest.raises(ContextError, match="a smaller --cache-ram would fit"):
        plan(2, prefix_cache=2 * GIB)


def test_a_context_beyond_the_training_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"ctx-size = 65537 .* 65536"):
        plan(64, context=65537)


def test_where_nothing_is_known_nothing_shrinks() -> None:
    made = plan_memory(NEEDS, Wishes(slots=100), None)
    assert (made.context, made.slots) == (DEFAULT_CONTEXT, 100)


@given(
    st.floats(0.1, 40),
    st.none() | st.integers(2, 65536),
    st.none() | st.integers(1, 300),
    st.none() | st.integers(0, 8 * GIB),
    st.booleans(),
)
def test_a_plan_fits_and_never_exceeds_what_was_asked_for(
    gib: float, context: int | None, slots: int | None, prefix_cache: int | None, fit: bool
) -> None:
    wishes = Wishes(context, slots, prefix_cache, fit)
    try:
        made = plan_memory(NEEDS, wishes, memory(gib))
    except ContextError:
        return
    assert made.total <= usable(gib)
    assert made.context <= (context or DEFAULT_CONTEXT)
    assert 1 <= made.slots <= (slots or MOST_SLOTS)
    if not fit:
        assert made.context == (context or DEFAULT_CONTEXT)
        assert slots is None or made.slots == slots
    assert (made.shrunk != ()) == (
        made.context < (context or DEFAULT_CONTEXT) or (slots is not None and made.slots < slots)
    )


# --- Files


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "m.gguf"
    write_tiny(path, TinySpec())
    return path


def test_what_is_planned_is_what_is_taken(model: Path) -> None:
    for kv_type, mtp in (("f16", True), ("q8_0", False)):
        needs = read_needs(model, kv_type=kv_type, mtp=mtp, prefill_rows=256)
        llm = LLM(
            model,
            context=128,
            sequences=3,
            kv_type=kv_type,
            spec_type="draft-mtp" if mtp else "none",
        )
        assert needs.cache == llm._cache.size
        arrays = [layer.k.nbytes + layer.v.nbytes for layer in llm._cache._kv_layers()]
        arrays += [
            scale.nbytes
            for layer in llm._cache._kv_layers()
            for scale in (layer.k_scale, layer.v_scale)
            if scale is not None
        ]
        made = replace(plan_memory(needs, Wishes(), None), context=128, slots=3)
        assert made.kv == sum(arrays) == 3 * pages_for(128) * needs.cache.page
        states = [
            getattr(layer, name).nbytes
            for layer in llm._cache.recurrent
            for name in layer.__slots__
        ]
        assert made.recurrent == sum(states)
        assert (needs.head > 0) == mtp and needs.has_head


def test_weights_are_counted_as_packed(model: Path) -> None:
    needs = read_needs(model, kv_type="f16", mtp=True, prefill_rows=256)
    with open_gguf(model) as file:
        stored = sum(info.nbytes for info in file.tensors.values())
    # Groups of 16 rows, and vectors as float32: a little more than in the file.
    assert stored <= needs.weights + needs.head < 1.5 * stored


def test_a_file_that_cannot_run_is_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(HeadlongError):
        read_needs(tmp_path / "none.gguf", kv_type="f16", mtp=True, prefill_rows=256)
    broken = alter(model, tmp_path / "broken.gguf", without=("token_embd.weight",))
    with pytest.raises(ModelError, match="token_embd"):
        read_needs(broken, kv_type="f16", mtp=True, prefill_rows=256)
