"""P3: reading a prompt costs the MTP head keys and values of its rows, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from rig import Rig

from headlong.engine.sequence import Sequence
from headlong.ops.batch import PAGE, Batch
from headlong.ops.reference import ReferenceOps
from headlong.speculation import Fixed
from tiny import Tiny


def prompt_of(length: int) -> list[int]:
    return [40 + (11 * i) % 180 for i in range(length)]


def places(batch: Batch) -> list[tuple[int, int]]:
    """Page and offset of every row of a batch of one segment."""
    return [(int(batch.page_table[0, p // PAGE]), int(p % PAGE)) for p in batch.positions]


def by_position(rig: Rig, sequence: Sequence, length: int) -> list[bytes]:
    """The head's keys and values of the first positions of a running sequence."""
    assert sequence.lease is not None
    assert rig.cache.mtp_kv is not None
    pages = sequence.lease.reserve(length)
    arrays = (rig.cache.mtp_kv.k, rig.cache.mtp_kv.v)
    flat = [a[pages].swapaxes(1, 2).reshape(len(pages) * PAGE, -1) for a in arrays]
    return [flat[0][p].tobytes() + flat[1][p].tobytes() for p in range(length)]


@pytest.mark.parametrize("prefill_rows", [1, 32, 64, 256])
def test_prompt_rows_cost_the_head_keys_and_values_only(chain: Tiny, prefill_rows: int) -> None:
    length = 150
    prompt = prompt_of(length)
    rig = Rig.make(chain.path, prefill_rows=prefill_rows, draft=Fixed(2))
    head = rig.model.head
    assert head is not None
    sequence = rig.submit(prompt, max_tokens=30)
    while sequence.prefilling:
        rig.step()
    calls = rig.ops.calls
    assert not any(c.uses(head.attention.q, head.attention.output) for c in calls)
    assert not any(c.uses(head.ffn.gate, head.ffn.up, head.ffn.down) for c in calls)
    assert not any(c.name == "attend" and c.cache is rig.cache.mtp_kv for c in calls)
    # The trunk's LM head, which the MTP head shares, saw the prompt's last row alone.
    assert [c.rows for c in calls if c.name in ("linear", "best") and c.uses(head.head)] == [1]

    stores = [c for c in calls if c.name == "store_kv" and c.cache is rig.cache.mtp_kv]
    filled = length - len(sequence.track.rows)
    assert sum(c.rows for c in calls if c.uses(head.attention.k)) == filled
    assert sum(c.rows for c in calls if c.uses(head.projection)) == filled
    assert 1 <= len(sequence.track.rows) <= 64
    # Never a few at a time: each fill takes more than a page, but for what the last chunk left.
    assert len(stores) <= length // 64
    positions = [int(p) for c in stores if c.batch for p in c.batch.positions]
    assert positions == list(range(filled))
    following = [int(t) for c in stores if c.batch for t in c.batch.tokens]
    assert following == prompt[1 : filled + 1]
    assert sequence.lease is not None
    pages = sequence.lease.reserve(filled)
    assert [place for c in stores if c.batch for place in places(c.batch)] == [
        (int(pages[p // PAGE]), p % PAGE) for p in range(filled)
    ]


def test_the_first_draft_takes_in_what_waits_and_attends_from_one_row(chain: Tiny) -> None:
    rig = Rig.make(chain.path, backend=ReferenceOps(), draft=Fixed(3))
    head = rig.model.head
    assert head is not None
    prompt = prompt_of(15)
    sequence = rig.submit(prompt, max_tokens=30)
    rig.step()
    rig.ops.calls.clear()
    first = sequence.tokens[-1]
    emission = rig.step()[sequence.id]
    calls = rig.ops.calls
    stores = [c for c in calls if c.name == "store_kv" and c.cache is rig.cache.mtp_kv]
    assert [c.rows for c in stores] == [15, 1, 1]
    assert stores[0].batch is not None
    assert stores[0].batch.tokens.tolist() == [*prompt[1:], first]
    assert [c.batch.positions.tolist() for c in stores[1:] if c.batch] == [[15], [16]]
    assert [c.rows for c in calls if c.name == "attend" and c.cache is rig.cache.mtp_kv] == [1] * 3
    assert [c.rows for c in calls if c.uses(head.ffn.gate)] == [1] * 3
    assert [c.rows for c in calls if c.uses(head.attention.output)] == [1] * 3
    # Three drafts, and the four rows that the trunk verified.
    assert [c.rows for c in calls if c.name in ("linear", "best") and c.uses(head.head)] == [
        1,
        1,
        1,
        4,
    ]
    # The next first draft repairs what was accepted of rows that the head had guessed.
    rig.ops.calls.clear()
    rig.step()
    stores = [c for c in rig.ops.calls if c.name == "store_kv" and c.cache is rig.cache.mtp_kv]
    assert stores[0].batch is not None
    expected = list(range(15, 16 + emission.accepted))
    assert stores[0].batch.positions.tolist() == expected
    assert stores[0].batch.tokens.tolist() == sequence.tokens[16 : 17 + emission.accepted]


def test_other_sequences_rows_stay_out_of_it(chain: Tiny) -> None:
    """Two prompts read in the same passes fill their own pages as each does alone."""
    alone = []
    for length in (100, 130):
        rig = Rig.make(chain.path)
        sequence = rig.submit(prompt_of(length), max_tokens=30)
        while sequence.prefilling:
            rig.step()
        rig.step()
        alone.append(by_position(rig, sequence, length))
    rig = Rig.make(chain.path, prefill_rows=37)
    pair = [rig.submit(prompt_of(length), max_tokens=30) for length in (100, 130)]
    while any(s.prefilling or s.track.start < s.prompt_length for s in pair):
        rig.step()
    for sequence, expected in zip(pair, alone, strict=True):
        assert by_position(rig, sequence, sequence.prompt_length) == expected


@pytest.mark.parametrize("prefill_rows", [1, 5, 63, 64, 65, 66, 100])
def test_however_a_prompt_is_cut_the_head_knows_the_same(chain: Tiny, prefill_rows: int) -> None:
    found = []
    for rows in (256, prefill_rows):
        rig = Rig.make(chain.path, prefill_rows=rows, draft=Fixed(4))
        sequence = rig.submit(prompt_of(140), max_tokens=40)
        for _ in range(1000):
            if sequence.track.start >= 160:
                break
            rig.step()
        found.append(by_position(rig, sequence, 160))
        assert sequence.stats.draft_n > sequence.stats.draft_n_accepted > 0
    assert len(set(found[0])) == 160
    differing = np.flatnonzero([a != b for a, b in zip(*found, strict=True)])
    assert differing.tolist() == []
