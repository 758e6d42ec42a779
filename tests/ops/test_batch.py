from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sequence_cases import WAYS, cpu

from headlong.ops.batch import PAGE, Batch, Segment, rotary_frequencies
from headlong.ops.reference import ReferenceOps


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
        own_numbers = (own.slot, own.start, own.fold, own.final)
        found = (batch.slots[s], batch.pos_start[s], batch.fold[s], batch.final[s])
        assert found == own_numbers
    assert batch.tokens.size == sum(own.tokens.size for own in segments)
    assert batch.single_rows == all(own.tokens.size == 1 for own in segments)


@given(segments=SEGMENTS)
def test_a_copy_has_arrays_of_its_own_and_room_for_pages(segments: list[Segment]) -> None:
    batch = Batch.of(segments)
    pages = batch.page_table.shape[1]
    copy = batch.copy(pages + 3)
    assert copy.page_table.shape == (len(segments), pages + 3)
    assert copy.page_table[:, :pages].tolist() == batch.page_table.tolist()
    assert not copy.page_table[:, pages:].any()
    for name in ("tokens", "figures"):
        mine, theirs = getattr(copy, name), getattr(batch, name)
        assert not np.shares_memory(mine, theirs)
        assert mine.tolist() == theirs.tolist()


@given(segments=SEGMENTS, way=st.sampled_from(WAYS))
def test_last_rows_are_a_batch_of_their_own(segments: list[Segment], way: tuple[str, int]) -> None:
    whole = Batch.of(segments)
    x = np.random.default_rng(1).standard_normal((whole.tokens.size, 5)).astype(np.float32)
    rows, last = cpu(*way).last_rows(x, whole)
    ends = np.cumsum([own.tokens.size for own in segments]) - 1
    assert rows.tobytes() == x[ends].tobytes()
    assert last.single_rows
    assert last.tokens.tolist() == [own.tokens[-1] for own in segments]
    assert last.positions.tolist() == [own.start + own.tokens.size - 1 for own in segments]
    assert last.pos_start.tolist() == last.positions.tolist()
    assert last.row_start.tolist() == list(range(len(segments)))
    assert last.slots.tolist() == whole.slots.tolist()
    assert not last.fold.any()
    assert (last.final == 1).all()
    assert last.page_table.tolist() == whole.page_table.tolist()
    reference_rows, reference = ReferenceOps().last_rows(x, whole)
    assert reference_rows.tobytes() == rows.tobytes()
    for name in ("tokens", "figures", "page_table"):
        mine, theirs = getattr(last, name), getattr(reference, name)
        assert mine.dtype == theirs.dtype == np.int32
        assert mine.tolist() == theirs.tolist()


@given(segments=SEGMENTS, way=st.sampled_from(WAYS), base=st.sampled_from([1e4, 1e7]))
def test_angles_are_those_of_the_formula(
    segments: list[Segment], way: tuple[str, int], base: float
) -> None:
    n_rot = 8
    batch = Batch.of([replace(own, start=own.start * 331) for own in segments])
    rope = cpu(*way).angles(batch, rotary_frequencies(n_rot, base))
    reference = ReferenceOps().angles(batch, rotary_frequencies(n_rot, base))
    for row, position in enumerate(batch.positions):
        angles = [int(position) * base ** (-2 * d / n_rot) for d in range(n_rot // 2)]
        np.testing.assert_allclose(rope.cos[row], np.cos(angles), rtol=0, atol=1e-7)
        np.testing.assert_allclose(rope.sin[row], np.sin(angles), rtol=0, atol=1e-7)
    np.testing.assert_allclose(rope.cos, reference.cos, rtol=0, atol=1e-7)
    np.testing.assert_allclose(rope.sin, reference.sin, rtol=0, atol=1e-7)
    assert rope.cos.dtype == rope.sin.dtype == np.float32


@pytest.mark.parametrize("way", WAYS)
def test_angles_do_not_depend_on_the_company(way: tuple[str, int]) -> None:
    frequencies = rotary_frequencies(16, 1e4)
    whole = cpu(*way).angles(Batch.of([segment(0, 1000, 70, 70, 0)]), frequencies)
    for row in range(70):
        alone = cpu(*way).angles(Batch.of([segment(0, 1000 + row, 1, 1, 0)]), frequencies)
        assert alone.cos[0].tobytes() == whole.cos[row].tobytes()
        assert alone.sin[0].tobytes() == whole.sin[row].tobytes()


def test_a_segment_without_rows_has_no_last_one() -> None:
    batch = Batch.of([segment(0, 5, 2, 1, 0), segment(1, 5, 0, 0, 0)])
    with pytest.raises(ValueError, match="segment 1 has no rows"):
        cpu(*WAYS[-1]).last_rows(np.zeros((2, 4), np.float32), batch)


def test_a_position_that_cannot_be_is_refused() -> None:
    batch = Batch.of([segment(0, 5, 2, 1, 0)])
    batch.pos_start[0] = -1
    with pytest.raises(ValueError, match=r"pos_start\[0\] is negative"):
        cpu(*WAYS[-1]).angles(batch, rotary_frequencies(8, 1e4))
