from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from headlong.cache.memory import Cache, cache_size
from headlong.errors import ContextError, UnsupportedError
from headlong.models.config import AttentionShape, Qwen35Config
from headlong.ops.batch import PAGE
from headlong.ops.state import DeltaNetShape, KVLayer, RecurrentLayer

CONFIG = Qwen35Config(
    name="sizes",
    layers=4,
    mtp_layers=1,
    hidden=64,
    ffn=64,
    vocab=300,
    context=4096,
    eps=1e-6,
    rope_base=1e7,
    attention=AttentionShape(heads=4, kv_heads=2, head_dim=96, rotary=8),
    delta=DeltaNetShape(key_heads=2, value_heads=6, key_dim=32, value_dim=32, taps=4),
    recurrent=(True, True, True, False),
)
SHAPES = {
    "few attention layers": CONFIG,
    "attention only": replace(CONFIG, recurrent=(False,) * 4),
    "recurrent only": replace(CONFIG, recurrent=(True,) * 4),
    "other sizes": replace(
        CONFIG,
        attention=AttentionShape(heads=8, kv_heads=4, head_dim=64, rotary=16),
        delta=DeltaNetShape(key_heads=1, value_heads=2, key_dim=64, value_dim=64, taps=2),
        recurrent=(True, False, True, False),
    ),
}


def make(
    config: Qwen35Config = CONFIG,
    *,
    context: int = 128,
    sequences: int = 3,
    kv_type: str = "f16",
    max_draft: int = 5,
    mtp: bool = True,
) -> Cache:
    return Cache(
        config,
        context=context,
        sequences=sequences,
        kv_type=kv_type,
        max_draft=max_draft,
        mtp=mtp,
    )


def kv_bytes(layer: KVLayer) -> int:
    arrays = (layer.k, layer.v, layer.k_scale, layer.v_scale)
    return sum(array.nbytes for array in arrays if array is not None)


def recurrent_bytes(layer: RecurrentLayer) -> int:
    return sum(
        array.nbytes
        for array in (
            layer.s,
            layer.conv,
            layer.pending_k,
            layer.pending_delta,
            layer.pending_decay,
            layer.pending_u,
        )
    )


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
@pytest.mark.parametrize("mtp", [True, False])
@pytest.mark.parametrize("max_draft", [0, 15])
def test_sizes_are_those_of_the_arrays(
    config: Qwen35Config, kv_type: str, mtp: bool, max_draft: int
) -> None:
    cache = make(config, context=2 * PAGE, kv_type=kv_type, mtp=mtp, max_draft=max_draft)
    size = cache_size(config, kv_type, max_draft, mtp=mtp)
    positions = 3 * 2 * PAGE
    assert sum(map(kv_bytes, cache.kv)) == size.kv_per_position * positions
    assert (cache.mtp_kv is not None) == mtp
    mtp_bytes = kv_bytes(cache.mtp_kv) if cache.mtp_kv is not None else 0
    assert mtp_bytes == size.mtp_per_position * positions
    assert sum(map(recurrent_bytes, cache.recurrent)) == 3 * size.recurrent_per_sequence
    every = sum(map(kv_bytes, cache.kv)) + mtp_bytes + sum(map(recurrent_bytes, cache.recurrent))
    assert size.total(positions, 3) == every


def test_a_context_is_rounded_up_to_pages_for_each_sequence() -> None:
    cache = make(context=PAGE + 1, sequences=3)
    assert cache.free_pages == 3 * 2
    for _ in range(3):
        cache.lease().reserve(PAGE + 1)
    assert cache.free_pages == 0


def test_slots_are_handed_out_once_and_come_back() -> None:
    cache = make(sequences=3)
    leases = [cache.lease() for _ in range(3)]
    assert sorted(lease.slot for lease in leases) == [0, 1, 2]
    with pytest.raises(ContextError, match="slots are taken"):
        cache.lease()
    leases[1].reserve(100)
    cache.release(leases[1])
    assert (cache.free_slots, cache.free_pages) == (1, 6)
    assert cache.lease().slot == leases[1].slot


def test_a_lease_starts_from_zero_state_and_leaves_other_slots_alone() -> None:
    cache = make(sequences=2)
    first, second = cache.lease(), cache.lease()
    for layer in cache.recurrent:
        layer.s[:] = np.nan
        layer.conv[:] = 7.0
    cache.release(first)
    again = cache.lease()
    assert again.slot == first.slot
    for layer in cache.recurrent:
        assert not layer.s[again.slot].any()
        assert not layer.conv[again.slot].any()
        assert np.isnan(layer.s[second.slot]).all()
        assert (layer.conv[second.slot] == 7.0).all()


def test_everything_can_be_taken_back_at_once() -> None:
    cache = make(sequences=3)
    slots, pages = cache.free_slots, cache.free_pages
    for _ in range(3):
        cache.lease().reserve(128)
    cache.clear()
    assert (cache.free_slots, cache.free_pages) == (slots, pages)
    leases = [cache.lease() for _ in range(3)]
    tables = [page for lease in leases for page in lease.reserve(128).tolist()]
    assert sorted(tables) == list(range(pages))
    assert sorted(lease.slot for lease in leases) == [0, 1, 2]


def test_heads_that_do_not_fit_the_blocks_of_a_q8_0_cache_are_refused() -> None:
    odd = replace(CONFIG, attention=AttentionShape(heads=4, kv_heads=2, head_dim=48, rotary=8))
    with pytest.raises(UnsupportedError, match=r"multiple of 32.*48 values.*f16"):
        make(odd, kv_type="q8_0")
    assert make(odd, kv_type="f16").kv[0].k.shape[-1] == 48


def test_a_cache_beyond_all_memory_is_refused_with_its_size() -> None:
    """256 TiB of keys and values: more than addresses, so no system grants it."""
    with pytest.raises(ContextError, match=r"1024 sequences of 1073741824 positions take [\d,]+ G"):
        make(context=1 << 30, sequences=1024)
