"""The memory of running sequences: KV pages, recurrent slots, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass

from headlong.cache.pages import Lease, PagePool, pages_for
from headlong.cache.prefix import Checkpoint, PrefixCache, SlotState
from headlong.errors import ContextError, UnsupportedError
from headlong.models.config import Qwen35Config
from headlong.ops.batch import PAGE, FloatArray
from headlong.ops.state import Q8_BLOCK, KVLayer, RecurrentLayer

_LEAST_INTERVAL = 256
"""Below this, checkpoints of a long prompt would mostly cost passes: prompt chunks end at each."""


@dataclass(frozen=True, slots=True)
class CacheSize:
    """Bytes that a cache takes: per position (all attention layers) and per sequence.

    ``state`` is the part of ``recurrent_per_sequence`` that a checkpoint sets aside.
    """

    kv_per_position: int
    mtp_per_position: int
    recurrent_per_sequence: int
    state: int

    def total(self, positions: int, sequences: int) -> int:
        """Bytes for so many cached positions and running sequences."""
        return self.page * pages_for(positions) + self.recurrent_per_sequence * sequences

    @property
    def page(self) -> int:
        """Bytes of one page of all layers."""
        return (self.kv_per_position + self.mtp_per_position) * PAGE

    @property
    def checkpoint_interval(self) -> int:
        """Positions between checkpoints of a long prompt.

        So many that the states set aside take no more memory than the keys and values between
        them; a power of two, so that one grid holds for all.
        """
        per_position = max(1, self.kv_per_position + self.mtp_per_position)
        positions = -(-self.state // per_position)
        return max(_LEAST_INTERVAL, 1 << max(0, positions - 1).bit_length())


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
        state=4 * recurrent_layers * (state + conv),
    )


class Cache:
    """KV pages and recurrent slots for up to ``sequences`` sequences of ``context`` positions.

    With ``retain`` bytes, prompts that were read are kept for later ones (`prefixes`): that much in
    pages and checkpoints, in addition to what running sequences need.

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
        retain: int = 0,
    ) -> None:
        attention = config.attention
        size = cache_size(config, kv_type, max_draft, mtp=mtp)
        pages = pages_for(context) * sequences + retain // 2 // max(1, size.page)
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
            total = sequences * size.total(context, 1) + retain
            raise ContextError(
                f"{sequences} sequences of {context} positions take {total / 2**30:,.0f} GiB of "
                "cache, which the system does not grant; lower context or sequences."
            ) from None
        self.size = size
        self._sequences = sequences
        self._retain = retain
        self.pages = pages
        self.clear()

    @property
    def free_slots(self) -> int:
        """Sequences that could start now."""
        return len(self._slots)

    @property
    def free_pages(self) -> int:
        """Pages that no sequence holds."""
        return self._pool.free

    def lease(self, checkpoint: Checkpoint | None = None) -> Lease:
        """Take a slot, at the start of a sequence or at a checkpoint of `prefixes`.

        Raises `ContextError` when all are taken.
        """
        if not self._slots:
            raise ContextError("all sequence slots are taken; wait for one to finish.")
        slot = self._slots.pop()
        lease = Lease(slot, self._pool)
        if checkpoint is None:
            for layer in self.recurrent:
                layer.reset(slot)
            return lease
        for array, saved in zip(self._state(slot), checkpoint.state, strict=True):
            array[:] = saved
        lease.share(checkpoint.pages)  # also the last, while it is copied
        copy = self._pool.take()
        for kv in self._kv_layers():
            kv.copy_page(checkpoint.pages[-1], copy)
        lease.replace_last(copy)
        return lease

    def checkpoint(self, lease: Lease, position: int, hidden: FloatArray) -> Checkpoint:
        """What `lease` may be given to go on after ``position`` tokens, all of them certain."""
        state = tuple(array.copy() for array in self._state(lease.slot))
        return Checkpoint(position, tuple(lease.pages[: pages_for(position)]), state, hidden)

    def release(self, lease: Lease) -> None:
        """Take back what a sequence held."""
        lease.drop()
        self._slots.append(lease.slot)

    def clear(self) -> None:
        """Take back everything at once; leases that are still held have no meaning any more."""
        self._pool = PagePool(self.pages)
        self._slots = list(range(self._sequences - 1, -1, -1))
        self.prefixes = (
            PrefixCache(self._pool, self.size.page, self._retain) if self._retain else None
        )

    def _state(self, slot: int) -> SlotState:
        """Views of a slot's recurrent state."""
        return tuple(array[slot] for layer in self.recurrent for array in (layer.s, layer.conv))

    def _kv_layers(self) -> list[KVLayer]:
        return self.kv if self.mtp_kv is None else [*self.kv, self.mtp_kv]
