from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headlong.ops.batch import PAGE, Batch, RopeTable, Segment


def segment(slot: int, start: int, rows: int, final: int, fold: int) -> Segment:
    pages = -(-(start + rows) // PAGE)
    return Segment(
        slot=slot,
        start=start,
        tokens=np.arange(rows, dtype=np.int32) + 10 * slot,
        pages=np.arange(pages, dtype=np.int32) + 100 * slot,
        final=final,
        fold=fold,
    )


SEGMENTS = st.lists(
    st.tuples(st.integers(0, 300), st.integers(1, 70), st.integers(0, 3)), min_size=1, max_size=5
).map(lambda all_: [segment(i, start, rows, 1, fold) for i, (start, rows, fold) in enumerate(all_)])


@given(segments=SEGMENTS)
def test_rows_lie_one_after_another(segments: list[Segment]) -> None:
    batch = Batch.of(segments)
    assert all(getattr(batch, f.name).dtype == np.int32 for f in fields(batch))
    for s, own in enumerate(segments):
        first, rows = int(batch.row_start[s]), int(batch.rows[s])
        mine = slice(first, first + rows)
        assert batch.tokens[mine].tolist() == own.tokens.tolist()
        assert batch.positions[mine].tolist() == list(range(own.start, own.start + rows))
        assert batch.page_table[s, : own.pages.size].tolist() == own.pages.tolist()
        assert batch.last_row[s] == first + rows - 1
        own_numbers = (own.slot, own.start, own.fold, own.final)
        found = (batch.slots[s], batch.pos_start[s], batch.fold[s], batch.final[s])
        assert found == own_numbers
    assert batch.tokens.size == sum(own.tokens.size for own in segments)
    assert batch.single_rows == all(own.tokens.size == 1 for own in segments)


@given(segments=SEGMENTS)
def test_last_rows_are_a_batch_of_their_own(segments: list[Segment]) -> None:
    whole, last = Batch.of(segments), Batch.of(segments).last_rows()
    assert last.single_rows
    assert last.tokens.tolist() == [own.tokens[-1] for own in segments]
    assert last.positions.tolist() == [own.start + own.tokens.size - 1 for own in segments]
    assert last.pos_start.tolist() == last.positions.tolist()
    assert last.row_start.tolist() == list(range(len(segments)))
    assert last.slots.tolist() == whole.slots.tolist()
    assert last.page_table.tolist() == whole.page_table.tolist()


@pytest.mark.parametrize("order", [[3, 1023, 1024, 5, 4000], [9000, 0, 1], [1500, 3100]])
def test_angles_do_not_depend_on_what_was_asked_before(order: list[int]) -> None:
    """Float64 angles of the formula, whatever the table has grown through."""
    n_rot, base = 8, 1e4
    table = RopeTable(n_rot, base)
    for position in order:
        rope = table.at(Batch.of([segment(0, position, 3, 3, 0)]))
        for row in range(3):
            angles = [(position + row) * base ** (-2 * d / n_rot) for d in range(n_rot // 2)]
            np.testing.assert_allclose(rope.cos[row], np.cos(angles), rtol=0, atol=1e-7)
            np.testing.assert_allclose(rope.sin[row], np.sin(angles), rtol=0, atol=1e-7)
        assert rope.cos.dtype == rope.sin.dtype == np.float32
    fresh = RopeTable(n_rot, base).at(Batch.of([segment(0, order[0], 3, 3, 0)]))
    again = table.at(Batch.of([segment(0, order[0], 3, 3, 0)]))
    assert fresh.cos.tobytes() == again.cos.tobytes()
    assert fresh.sin.tobytes() == again.sin.tobytes()
