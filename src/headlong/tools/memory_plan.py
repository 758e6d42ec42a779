"""Memory of a model with many slots, added up before it is loaded, and fitted to what there is.

Everything that grows with the settings is counted as if it were full: each slot with a whole
context, the prefix cache to its limit.  So what fits at the start fits later.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from headlong.cache.memory import CacheSize, cache_size
from headlong.cache.pages import pages_for
from headlong.errors import ContextError, ModelError, ParameterError
from headlong.gguf import TensorInfo, open_gguf
from headlong.gguf.names import EMBEDDING, block_prefix
from headlong.models.config import Qwen35Config, read_config
from headlong.ops.batch import PAGE
from headlong.ops.cpu import packed_bytes
from headlong.sampling import MAX_DRAFT
from headlong.tools.available_memory import AvailableMemory

__all__ = ["MemoryPlan", "ModelNeeds", "Wishes", "plan_memory", "read_needs"]

DEFAULT_CONTEXT: Final = 32_768
"""Context of a slot where none is asked for: long enough for agents, which send files."""

MOST_SLOTS: Final = 8
"""Slots where no number is asked for, at most.  A pass over eight rows costs little more than one
over one row; further answers slow each other down."""

MOST_PREFIX_CACHE: Final = 2 << 30
"""Memory for kept prompts where none is asked for, at most."""

LEAST_CONTEXT: Final = 4096
"""Contexts are shrunk to this before slots are given up."""

SHORTEST_CONTEXT: Final = 512
"""A single slot is shrunk to this; below it, a model is no use."""

# Interpreter, libraries and web framework: 66 MiB after their import.  With this figure, a 2B whose
# four slots were full took 1863 MiB where 1912 had been planned.
_PROGRAM: Final = 160 << 20
# A vocabulary of 248,320 takes 115 MiB, as texts, ids and merges.
_PER_VOCABULARY_ENTRY: Final = 480
# Rows of logits that a pass holds for each slot: the longest draft chosen by itself, and one.
_LOGIT_ROWS: Final = 8
# What is left to others: a sixteenth, at least this much.
_LEAST_SPARE: Final = 256 << 20
_SPARE_SHARE: Final = 16


@dataclass(frozen=True, slots=True)
class ModelNeeds:
    """What a file takes in memory whatever the settings, and what a slot takes."""

    weights: int  # trunk, as packed
    head: int  # of the MTP head that is loaded; 0 without
    has_head: bool  # in the file, loaded or not
    rows: int  # scratch of a pass of so many prompt rows
    tokenizer: int
    logits: int  # scratch of a slot
    cache: CacheSize
    context: int  # positions that the model was trained for

    def slot(self, context: int) -> int:
        """Bytes of one slot, its context full."""
        return self.cache.total(context, 1) + self.logits

    @property
    def fixed(self) -> int:
        """Bytes that no setting changes."""
        return self.weights + self.head + self.scratch

    @property
    def scratch(self) -> int:
        """Bytes besides weights and slots."""
        return _PROGRAM + self.tokenizer + self.rows


@dataclass(frozen=True, slots=True)
class Wishes:
    """What was asked for; None leaves the choice to the plan.  ``prefix_cache`` in bytes."""

    context: int | None = None
    slots: int | None = None
    prefix_cache: int | None = None
    fit: bool = True


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """What will be taken, in bytes, with everything full."""

    needs: ModelNeeds
    context: int  # positions of each slot
    slots: int
    prefix_cache: int
    available: AvailableMemory | None
    shrunk: tuple[str, ...] = ()  # what is smaller than asked for, in words

    @property
    def kv(self) -> int:
        """Keys and values of all slots, the head's included."""
        return self.needs.cache.page * pages_for(self.context) * self.slots

    @property
    def recurrent(self) -> int:
        """Recurrent states of all slots, with those of unverified rows."""
        return self.needs.cache.recurrent_per_sequence * self.slots

    @property
    def scratch(self) -> int:
        """Program, tokenizer and arrays of passes."""
        return self.needs.scratch + self.needs.logits * self.slots

    @property
    def total(self) -> int:
        """All of it."""
        needs = self.needs
        cache = self.kv + self.recurrent + self.prefix_cache
        return needs.weights + needs.head + cache + self.scratch


def read_needs(path: Path, *, kv_type: str, mtp: bool, prefill_rows: int) -> ModelNeeds:
    """What a file needs; reads its header only.

    Raises `GGUFError`, `ModelError` or `UnsupportedError` for a file that cannot be run.
    """
    with open_gguf(path) as file:
        embedding = file.tensors.get(EMBEDDING)
        if embedding is None:
            raise ModelError(f"{path}: tensor '{EMBEDDING}' is missing; this is no whole model.")
        config = read_config(file.metadata, embedding.rows)
        prefix = block_prefix(config.mtp_block)
        head = {n: t for n, t in file.tensors.items() if n.startswith(prefix)}
        trunk = [t for n, t in file.tensors.items() if n not in head]
        loaded = mtp and config.mtp_layers > 0
        return ModelNeeds(
            weights=sum(map(_packed, trunk)),
            head=sum(map(_packed, head.values())) if loaded else 0,
            has_head=config.mtp_layers > 0,
            rows=_pass_bytes(config, prefill_rows),
            tokenizer=_PER_VOCABULARY_ENTRY * config.vocab,
            logits=_LOGIT_ROWS * config.vocab * 4,
            cache=cache_size(config, kv_type, MAX_DRAFT, mtp=loaded),
            context=config.context,
        )


def plan_memory(needs: ModelNeeds, wishes: Wishes, available: AvailableMemory | None) -> MemoryPlan:
    """Choose context, slots and prefix cache: what was asked for, if there is memory for it.

    With `Wishes.fit`, the context of all slots shrinks to what fits, down to `LEAST_CONTEXT`; then
    slots are given up; then the last one shrinks to `SHORTEST_CONTEXT`.  Where no number of slots
    is asked for, it is the largest up to `MOST_SLOTS` that has room at the context asked for.

    Raises:
        ParameterError: a context longer than the model was trained for.
        ContextError: it does not fit, with the figures and the flags that would help.
    """
    context = wishes.context or min(DEFAULT_CONTEXT, needs.context)
    if not 2 <= context <= needs.context:
        raise ParameterError(
            f"ctx-size = {context} is not a whole number from 2 to {needs.context}, the length the "
            "model was trained for."
        )
    if available is None:
        chosen = MOST_PREFIX_CACHE if wishes.prefix_cache is None else wishes.prefix_cache
        return MemoryPlan(needs, context, wishes.slots or MOST_SLOTS, chosen, None)
    usable = available.bytes - max(_LEAST_SPARE, available.bytes // _SPARE_SHARE)
    free = usable - needs.fixed
    prefix_cache = wishes.prefix_cache
    if prefix_cache is None:
        prefix_cache = max(0, min(MOST_PREFIX_CACHE, free // 4)) >> 20 << 20
    room = free - prefix_cache
    slots = wishes.slots or max(1, min(MOST_SLOTS, room // needs.slot(context)))
    plan = MemoryPlan(needs, context, slots, prefix_cache, available)
    if slots * needs.slot(context) <= room:
        return plan
    fitting = _fitting(plan, room)
    if fitting is None or not wishes.fit:
        raise ContextError(_refusal(plan, fitting, usable))
    return fitting


def _fitting(plan: MemoryPlan, room: int) -> MemoryPlan | None:
    """The plan with a smaller context, then with fewer slots."""
    least = min(plan.context, LEAST_CONTEXT)
    for slots in range(plan.slots, 0, -1):
        context = _longest(plan.needs, room // slots, plan.context)
        if context >= (least if slots > 1 else min(plan.context, SHORTEST_CONTEXT)):
            shrunk = []
            if context < plan.context:
                shrunk.append(f"context {context} instead of {plan.context}")
            if slots < plan.slots:
                shrunk.append(f"{slots} {_slots(slots)} instead of {plan.slots}")
            return replace(plan, context=context, slots=slots, shrunk=tuple(shrunk))
    return None


def _longest(needs: ModelNeeds, room: int, most: int) -> int:
    """The longest context, in whole pages, of a slot that has so much room."""
    pages = (room - needs.slot(0)) // max(1, needs.cache.page)
    return max(0, min(most, pages * PAGE))


def _refusal(plan: MemoryPlan, fitting: MemoryPlan | None, usable: int) -> str:
    assert plan.available is not None
    needs = plan.needs
    figures = (
        f"not enough memory: {_gib(plan.total)} needed ({_gib(needs.fixed)} for weights and "
        f"program, {_gib(plan.slots * needs.slot(plan.context))} for {plan.slots} "
        f"{_slots(plan.slots)} of {plan.context} tokens, {_gib(plan.prefix_cache)} for kept "
        f"prompts), and {_gib(usable)} usable of {_gib(plan.available.bytes)} "
        f"{plan.available.limit}"
    )
    if fitting is not None:
        slots = f" -np {fitting.slots}" if fitting.slots < plan.slots else ""
        return f"{figures}; -c {fitting.context}{slots} would fit, and --fit on chooses it."
    least = replace(plan, context=min(plan.context, SHORTEST_CONTEXT), slots=1)
    if plan.prefix_cache and least.total - plan.prefix_cache <= usable:
        return f"{figures}; a smaller --cache-ram would fit."
    return f"{figures}; take a smaller model or quantisation, or --cache-type q8_0."


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def _slots(count: int) -> str:
    return "slot" if count == 1 else "slots"


def _packed(info: TensorInfo) -> int:
    if len([size for size in info.shape if size > 1]) < 2:
        return 4 * info.elements  # vectors are kept as float32
    return packed_bytes(info.type, info.rows, info.cols)


def _pass_bytes(config: Qwen35Config, rows: int) -> int:
    """Arrays of a pass over a prompt chunk: residual, norms and projections, float32.

    Some eight of the model's width, four of the feed-forward's, and the delta net's inputs.
    """
    return 4 * rows * (8 * config.hidden + 4 * config.ffn + 4 * config.delta.channels)
