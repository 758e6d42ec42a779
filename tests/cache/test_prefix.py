from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headlong.cache.pages import Lease, PagePool, pages_for
from headlong.cache.prefix import Checkpoint, PrefixCache
from headlong.ops.batch import PAGE

PAGE_BYTES = 1000
STATE = (np.zeros(50, np.float32),)  # 200 bytes
HIDDEN = np.zeros(25, np.float32)  # 100 bytes


def tokens_of(count: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, 1000, count).tolist()


class Memory:
    """A pool, a cache, and sequences that come and go."""

    def __init__(self, pages: int = 64, budget: int = 1 << 30) -> None:
        self.pool = PagePool(pages)
        self.cache = PrefixCache(self.pool, PAGE_BYTES, budget)

    def leave(self, tokens: list[int], *positions: int) -> list[int]:
        """A sequence that leaves checkpoints and ends; returns its pages."""
        lease = Lease(0, self.pool)
        lease.reserve(len(tokens))
        for position in positions:
            held = tuple(lease.pages[: pages_for(position)])
            self.cache.keep(tokens, Checkpoint(position, held, STATE, HIDDEN))
        pages = list(lease.pages)
        lease.drop()
        return pages

    def position(self, prompt: list[int]) -> int:
        return self.cache.find(np.array(prompt, np.int32)).position


@pytest.mark.parametrize("position", [1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 150])
def test_a_prompt_goes_on_at_the_checkpoint(position: int) -> None:
    memory = Memory()
    tokens = tokens_of(200)
    pages = memory.leave(tokens, position)
    found = memory.cache.find(np.array(tokens, np.int32))
    assert found.checkpoint is not None
    assert found.checkpoint.position == position
    assert list(found.checkpoint.pages) == pages[: pages_for(position)]
    assert memory.pool.free == 64 - pages_for(position)


def test_the_last_token_must_be_computed() -> None:
    memory = Memory()
    tokens = tokens_of(100)
    memory.leave(tokens, 70, 100)
    assert memory.position(tokens) == 70
    assert memory.position([*tokens, 5]) == 100
    assert memory.position(tokens[:70]) == 0
    assert memory.position(tokens[:71]) == 70


def test_where_texts_part_the_furthest_common_checkpoint_counts() -> None:
    memory = Memory()
    tokens, other = tokens_of(200), tokens_of(200, seed=1)
    memory.leave(tokens, 64, 130, 190)
    assert memory.position(tokens[:150] + other) == 130
    assert memory.position(tokens[:100] + other) == 64
    assert memory.position(tokens[:63] + other) == 0
    found = memory.cache.find(np.array(tokens[:150] + other, np.int32))
    assert found.known == 2 * PAGE


def test_a_page_is_known_only_with_the_token_after_it() -> None:
    """The last row of a page of the MTP head depends on that token."""
    memory = Memory()
    tokens = tokens_of(200)
    memory.leave(tokens, 190)
    changed = [*tokens[:PAGE], tokens[PAGE] + 1, *tokens[PAGE + 1 :]]
    assert memory.cache.find(np.array(changed, np.int32)).known == 0


def test_the_same_text_twice_takes_memory_once() -> None:
    memory = Memory()
    tokens = tokens_of(150)
    first = memory.leave(tokens, 140)
    report = memory.cache.report()
    second = memory.leave(tokens, 140)
    assert memory.cache.report() == report
    assert memory.pool.free == 64 - 3
    assert set(first) != set(second)


def test_what_was_used_longest_ago_goes_first() -> None:
    memory = Memory(budget=2 * 3 * 2 * PAGE_BYTES)  # half: three times a page and a checkpoint's
    texts = [tokens_of(PAGE + 6, seed) for seed in range(4)]
    for text in texts[:3]:
        memory.leave(text, PAGE + 5)
    memory.cache.use(np.array(texts[0], np.int32))
    memory.leave(texts[3], PAGE + 5)
    assert [memory.position(text) for text in texts] == [PAGE + 5, 0, PAGE + 5, PAGE + 5]
    report = memory.cache.report()
    assert (report.queries, report.hits) == (1, 1)
    assert (report.asked_tokens, report.found_tokens) == (PAGE + 6, PAGE + 5)
    assert report.nbytes == 3 * (2 * PAGE_BYTES + 300)


def test_checkpoints_have_a_half_of_their_own() -> None:
    memory = Memory(budget=2 * 8 * 300 + 299)  # eight states; pages are not the limit
    memory.cache = PrefixCache(memory.pool, 1, 2 * 8 * 300 + 299)
    tokens = tokens_of(PAGE)
    memory.leave(tokens, *range(1, 12))
    assert memory.cache.report().checkpoints == 8
    assert memory.position(tokens[:5]) == 4
    assert memory.position(tokens[:3]) == 0


def test_running_sequences_get_pages_that_were_only_kept() -> None:
    memory = Memory(pages=4)
    memory.leave(tokens_of(4 * PAGE), 4 * PAGE - 1)
    assert memory.pool.free == 0
    lease = Lease(0, memory.pool)
    lease.reserve(4 * PAGE)
    assert memory.cache.report().pages == 0
    lease.drop()
    assert memory.pool.free == 4


def test_pages_in_use_stay_when_the_cache_forgets_them() -> None:
    memory = Memory(pages=4)
    tokens = tokens_of(2 * PAGE)
    memory.leave(tokens, 2 * PAGE - 1)
    found = memory.cache.find(np.array(tokens, np.int32)).checkpoint
    assert found is not None
    lease = Lease(0, memory.pool)
    lease.share(found.pages)
    memory.cache.clear()
    assert memory.pool.free == 2
    lease.drop()
    assert memory.pool.free == 4


@given(
    steps=st.lists(
        st.tuples(
            st.lists(st.integers(0, 1), min_size=1, max_size=6),  # blocks of half a page
            st.lists(st.floats(0, 1), max_size=3),
        ),
        max_size=25,
    ),
    budget=st.integers(0, 12 * PAGE_BYTES),
)
def test_whatever_comes_what_is_found_is_what_was_left(
    steps: list[tuple[list[int], list[float]]], budget: int
) -> None:
    """Pages of a found checkpoint hold the prompt's own tokens, and nothing leaks."""
    memory = Memory(pages=256, budget=budget)
    content: dict[int, list[int]] = {}
    for blocks, shares in steps:
        tokens = [token for block in blocks for token in [block, *range(PAGE // 2 - 1)]]
        found = memory.cache.use(np.array(tokens, np.int32)).checkpoint
        if found is not None:
            assert found.position < len(tokens)
            held = [token for page in found.pages for token in content[page]]
            assert held[: found.position] == tokens[: found.position]
        lease = Lease(0, memory.pool)
        lease.reserve(len(tokens))
        for index, page in enumerate(lease.pages):
            content[page] = tokens[index * PAGE : (index + 1) * PAGE]
        for position in sorted({max(1, round(share * len(tokens))) for share in shares}):
            held_pages = tuple(lease.pages[: pages_for(position)])
            memory.cache.keep(tokens, Checkpoint(position, held_pages, STATE, HIDDEN))
        lease.drop()
        assert memory.cache.report().nbytes <= budget
    memory.cache.clear()
    assert memory.pool.free == 256
