"""Prompts that were read before: which pages hold them, and where reading may go on.

A tree of full pages, by their tokens.  Keys and values can be continued after any position, the
recurrent state of a delta-net only where it was set aside: at *checkpoints*.  A checkpoint stands
at any position and hangs on the full pages before it; the page it stands in is copied when it is
used, since the sequence that left it may have gone on in that page.

Row invariance makes what is found equal, byte for byte, to what would be computed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from headlong.cache.pages import PagePool
from headlong.ops.batch import PAGE, FloatArray, IntArray

SlotState = tuple[FloatArray, ...]
"""Recurrent state of one sequence: all arrays of all its layers, in order."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that a sequence needs to go on after ``position`` tokens.

    ``pages`` hold the positions before it, the last of them perhaps in part.  ``hidden``
    ``[hidden]`` is the trunk's row of the last position, which the MTP head joins with the token
    that comes next.
    """

    position: int
    pages: tuple[int, ...]
    state: SlotState
    hidden: FloatArray


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a prompt: the furthest checkpoint, if any, and tokens in known pages."""

    checkpoint: Checkpoint | None
    known: int

    @property
    def position(self) -> int:
        """Tokens that need not be read again."""
        return self.checkpoint.position if self.checkpoint else 0


@dataclass(frozen=True, slots=True)
class PrefixCacheReport:
    """What the cache holds and how it did: tokens asked for, and found, since the start."""

    pages: int
    checkpoints: int
    nbytes: int
    queries: int
    hits: int
    asked_tokens: int
    found_tokens: int


@dataclass(slots=True, eq=False)
class _Node:
    """A full page after those of its parents.

    Its key is its tokens *and the one after them*, which the last row of the MTP head depends on.
    """

    parent: _Node | None
    key: bytes
    page: int
    children: dict[bytes, _Node] = field(default_factory=dict)
    marks: dict[bytes, _Mark] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Mark:
    """A checkpoint's place: the node whose pages precede it, the tokens after those, its page."""

    node: _Node
    key: bytes
    page: int
    position: int
    state: SlotState
    hidden: FloatArray

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.state) + self.hidden.nbytes


class PrefixCache:
    """Pages and checkpoints worth up to ``budget`` bytes, those used longest ago go first.

    Half of it is for pages and half for what checkpoints set aside: memory of pages stays with the
    process once it was used, so neither part could grow into the other's.
    """

    def __init__(self, pool: PagePool, page_bytes: int, budget: int) -> None:
        self._pool = pool
        self._page_bytes = page_bytes
        self._half = budget // 2
        self._root = _Node(None, b"", -1)
        # Least recently used first.  A node is always used after its children, so the first of
        # all has none.
        self._entries: OrderedDict[_Node | _Mark, None] = OrderedDict()
        self._set_aside = 0
        self._queries = self._hits = self._asked = self._found = 0
        pool.reclaim = self._reclaim

    def find(self, prompt: IntArray) -> Found:
        """The furthest checkpoint before the prompt's last token, which must be computed."""
        return _found(*self._walk(prompt))

    def use(self, prompt: IntArray) -> Found:
        """`find`, and count it; what is found has been used now."""
        mark, depth = self._walk(prompt)
        self._queries += 1
        self._asked += prompt.size
        if mark is not None:
            self._hits += 1
            self._found += mark.position
            self._use(mark)
        return _found(mark, depth)

    def keep(self, tokens: Sequence[int], checkpoint: Checkpoint) -> None:
        """Remember a sequence of these tokens up to a checkpoint within them.

        The full pages before the checkpoint's own must be complete, rows of the MTP head included.
        """
        row = np.array(tokens[: checkpoint.position], np.int32)
        full = (checkpoint.position - 1) // PAGE
        node = self._root
        for index, page in enumerate(checkpoint.pages[:full]):
            key = row[index * PAGE : (index + 1) * PAGE + 1].tobytes()
            child = node.children.get(key)
            if child is None:
                child = node.children[key] = _Node(node, key, page)
                self._pool.share(page)
                self._entries[child] = None
            node = child
        key = row[full * PAGE :].tobytes()
        mark = node.marks.get(key)
        if mark is None:
            page = checkpoint.pages[full]
            mark = _Mark(node, key, page, checkpoint.position, checkpoint.state, checkpoint.hidden)
            node.marks[key] = mark
            self._pool.share(page)
            self._entries[mark] = None
            self._set_aside += mark.nbytes
        self._use(mark)
        self._shrink()

    def clear(self) -> None:
        """Forget everything."""
        while self._entries:
            self._remove(next(iter(self._entries)))

    def report(self) -> PrefixCacheReport:
        """What it holds and how it did."""
        marks = sum(isinstance(entry, _Mark) for entry in self._entries)
        return PrefixCacheReport(
            pages=len(self._entries) - marks,
            checkpoints=marks,
            nbytes=self._set_aside + len(self._entries) * self._page_bytes,
            queries=self._queries,
            hits=self._hits,
            asked_tokens=self._asked,
            found_tokens=self._found,
        )

    def _walk(self, prompt: IntArray) -> tuple[_Mark | None, int]:
        """The furthest mark, and tokens in pages that are known."""
        node, furthest, depth = self._root, None, 0
        while True:
            rest = prompt[depth : min(prompt.size - 1, depth + PAGE)].tobytes()
            fitting = [mark for key, mark in node.marks.items() if rest.startswith(key)]
            furthest = max(fitting, key=lambda mark: mark.position, default=furthest)
            below = node.children.get(prompt[depth : depth + PAGE + 1].tobytes())
            if below is None:
                return furthest, depth
            node, depth = below, depth + PAGE

    def _use(self, mark: _Mark) -> None:
        self._entries.move_to_end(mark)
        node: _Node | None = mark.node
        while node is not None and node is not self._root:
            self._entries.move_to_end(node)
            node = node.parent

    def _shrink(self) -> None:
        while len(self._entries) * self._page_bytes > self._half:
            self._remove(next(iter(self._entries)))
        while self._set_aside > self._half:
            self._remove(next(entry for entry in self._entries if isinstance(entry, _Mark)))

    def _reclaim(self) -> bool:
        """Let go of what was used longest ago, until a page is free."""
        before = self._pool.free
        while self._entries and self._pool.free == before:
            self._remove(next(iter(self._entries)))
        return self._pool.free > before

    def _remove(self, entry: _Node | _Mark) -> None:
        del self._entries[entry]
        if isinstance(entry, _Mark):
            self._set_aside -= entry.nbytes
            del entry.node.marks[entry.key]
        else:
            assert not entry.children and not entry.marks, "a node is used after its children"
            assert entry.parent is not None
            del entry.parent.children[entry.key]
        self._pool.give_back([entry.page])


def _found(mark: _Mark | None, known: int) -> Found:
    if mark is None:
        return Found(None, known)
    pages = (*_path(mark.node), mark.page)
    return Found(Checkpoint(mark.position, pages, mark.state, mark.hidden), known)


def _path(node: _Node) -> list[int]:
    pages = []
    at: _Node | None = node
    while at is not None and at.parent is not None:
        pages.append(at.page)
        at = at.parent
    return pages[::-1]
