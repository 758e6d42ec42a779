"""The memory of running sequences: KV pages, recurrent slots, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass

from headlong.cache.pages import Lease, PagePool, pages_for
from headlong.errors import ContextError, UnsupportedError
from headlong.models.config import Qwen35Config
from headlong.ops.batch import PAGE
from headlong.ops.state import Q8_BLOCK, KVLayer, RecurrentLayer


@dataclass(frozen=True, slots=True)
class CacheSize:
    """Bytes that a cache takes: per position (all attention layers) and per sequence."""

    kv_per_position: int
    mtp_per_position: int
    recurrent_per_sequence: int

    def total(self, positions: int, sequences: int) -> int:
        """Bytes for so many cached positions and running sequences."""
        kv = (self.kv_per_position + self.mtp_per_position) * pages_for(positions) * PAGE
        return kv + self.recurrent_per_sequence * sequences


def cache_size(config: Qwen35Config, kv_type: str, max_draft: int, *, mtp: bool) -> CacheSize:
    """What one cached position and one sequence cost, in bytes."""
    attention, delta = config.attention, config.delta
    # f16: 2 bytes; q8_0: 1 byte and a 2-byte scale per 32 values
    per_value = 2.0 if kv_type == "f16" else 1.0 + 2.0 / Q8_BLOCK
    layer = int(2 * attention.kv_heads * attention.head_dim * per_value)
    state = delta.value_heads * delta.key_dim * delta.value_dim
    conv = (delta.taps - 1) * delta.channels
    pending = max_draft * (
        delta.key_heads * delta.key_dim + delta.value_heads * (delta.value_dim + 1) + delta.channels
    )
    recurrent_layers = sum(config.recurrent)
    return CacheSize(
        kv_per_position=layer * (config.layers - recurrent_layers),
        mtp_per_position=layer if mtp else 0,
        recurrent_per_sequence=4 * recurrent_layers * (state + conv + pending),
    )


class Cache:
    """KV pages and recurrent slots for up to ``sequences`` sequences of ``context`` positions.

    Memory is reserved here and committed by the system as pages are first written.

    Raises:
        UnsupportedError: the head size does not fit the blocks of a ``q8_0`` cache.
        ContextError: the system does not grant the memory.
    """

    def __init__(
        self,
        config: Qwen35Config,
        *,
        context: int,
        sequences: int,
        kv_type: str,
        max_draft: int,
        mtp: bool,
    ) -> None:
        attention = config.attention
        pages = pages_for(context) * sequences
        if kv_type == "q8_0" and attention.head_dim % Q8_BLOCK:
            raise UnsupportedError(
                f"a q8_0 cache needs heads of a multiple of {Q8_BLOCK}, and those of this model "
                f"have {attention.head_dim} values; use kv_type f16."
            )

        def layer() -> KVLayer:
            return KVLayer.allocate(pages, attention.kv_heads, attention.head_dim, kv_type)

        try:
            self.kv = [layer() for recurrent in config.recurrent if not recurrent]
            self.mtp_kv = layer() if mtp else None
            self.recurrent = [
                RecurrentLayer.allocate(sequences, config.delta, max_draft)
                for recurrent in config.recurrent
                if recurrent
            ]
        except (MemoryError, ValueError):  # ValueError: more than numpy can address
            size = cache_size(config, kv_type, max_draft, mtp=mtp)
            total = sequences * size.total(context, 1)
            raise ContextError(
                f"{sequences} sequences of {context} positions take {total / 2**30:,.0f} GiB of "
                "cache, which the system does not grant; lower context or sequences."
            ) from None
        self._sequences = sequences
        self._pool = PagePool(pages)
        self._slots = list(range(sequences - 1, -1, -1))

    @property
    def free_slots(self) -> int:
        """Sequences that could start now."""
        return len(self._slots)

    @property
    def free_pages(self) -> int:
        """Pages that no sequence holds."""
        return self._pool.free

    def lease(self) -> Lease:
        """Take a slot at its zero state.  Raises `ContextError` when all are taken."""
        if not self._slots:
            raise ContextError("all sequence slots are taken; wait for one to finish.")
        slot = self._slots.pop()
        for state in self.recurrent:
            state.reset(slot)
        return Lease(slot, self._pool)

    def release(self, lease: Lease) -> None:
        """Take back what a sequence held."""
        lease.drop()
        self._slots.append(lease.slot)

    def clear(self) -> None:
        """Take back everything at once; leases that are still held have no meaning any more."""
        self._pool = PagePool(self._pool.total)
        self._slots = list(range(self._sequences - 1, -1, -1))
