from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headlong.cache.pages import Lease, PagePool, pages_for
from headlong.errors import ContextError
from headlong.ops.batch import PAGE


@pytest.mark.parametrize(
    ("positions", "pages"), [(0, 0), (1, 1), (PAGE - 1, 1), (PAGE, 1), (PAGE + 1, 2), (5 * PAGE, 5)]
)
def test_pages_for(positions: int, pages: int) -> None:
    assert pages_for(positions) == pages


def test_the_page_freed_last_is_used_first() -> None:
    pool = PagePool(4)
    assert [pool.take(), pool.take(), pool.take()] == [0, 1, 2]
    pool.give_back([0, 2])
    assert [pool.take(), pool.take(), pool.take()] == [0, 2, 3]
    assert pool.free == 0


def test_a_full_pool_says_how_large_it_is() -> None:
    pool = PagePool(2)
    pool.take()
    pool.take()
    with pytest.raises(ContextError, match=f"2 pages of {PAGE} positions"):
        pool.take()


def test_a_lease_grows_by_whole_pages_and_keeps_those_it_has() -> None:
    pool = PagePool(8)
    lease, other = Lease(0, pool), Lease(1, pool)
    assert lease.reserve(1).tolist() == [0]
    assert other.reserve(PAGE + 1).tolist() == [1, 2]
    assert lease.reserve(PAGE).tolist() == [0]
    assert lease.reserve(2 * PAGE + 1).tolist() == [0, 3, 4]
    assert lease.reserve(5).tolist() == [0, 3, 4]  # never shrinks
    assert lease.reserve(5).dtype == "int32"
    lease.drop()
    assert pool.free == 6
    lease.drop()
    assert pool.free == 6
    assert lease.reserve(1).tolist() == [0]


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 3), st.one_of(st.none(), st.integers(0, 5 * PAGE))), max_size=40
    )
)
def test_no_page_has_two_owners_and_none_gets_lost(steps: list[tuple[int, int | None]]) -> None:
    pool = PagePool(24)
    leases = [Lease(slot, pool) for slot in range(4)]
    held: list[list[int]] = [[], [], [], []]
    for which, positions in steps:
        if positions is None:
            leases[which].drop()
            held[which] = []
        else:
            table = leases[which].reserve(positions).tolist()
            assert table[: len(held[which])] == held[which]
            assert len(table) == max(len(held[which]), pages_for(positions))
            held[which] = table
        owned = [page for pages in held for page in pages]
        assert len(owned) == len(set(owned))
        assert set(owned) <= set(range(24))
        assert pool.free == 24 - len(owned)
