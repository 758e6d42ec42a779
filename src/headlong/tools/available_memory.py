"""How much memory this process may still take: of the machine, or of the container it runs in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

__all__ = ["AvailableMemory", "available_memory"]

# Where a system does not tell what is free (macOS), this share of all memory is taken for it.
_SHARE_WITHOUT_FIGURES: Final = 0.75


@dataclass(frozen=True, slots=True)
class AvailableMemory:
    """Bytes that may still be taken, and what sets them, in words."""

    bytes: int
    limit: str


def available_memory(root: Path = Path("/")) -> AvailableMemory | None:
    """The smallest of the limits that hold here; None where the system tells none.

    Pages of files in memory count as available: the system drops them when memory is asked for.
    ``root`` is where ``proc`` and ``sys`` are found.
    """
    limits = [*_machine(root), *_control_groups(root)]
    return min(limits, key=lambda limit: limit.bytes, default=None)


def _machine(root: Path) -> Iterator[AvailableMemory]:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            yield AvailableMemory(int(line.split()[1]) << 10, "available on this machine")
            return
    names = getattr(os, "sysconf_names", {})
    if root == Path("/") and {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= names.keys():
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        share = int(memory * _SHARE_WITHOUT_FIGURES)
        yield AvailableMemory(share, "three quarters of this machine's memory")


def _control_groups(root: Path) -> Iterator[AvailableMemory]:
    """What each control group on the way to this process leaves, of either version."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base = root / "sys/fs/cgroup"
            files = ("memory.max", "memory.current")
            dropped = ("inactive_file", "active_file")
        elif "memory" in controllers.split(","):
            base = root / "sys/fs/cgroup/memory"
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes")
            dropped = ("total_inactive_file", "total_active_file")
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        # Inside a container the path may be one of the host; its own groups are then at the base.
        for folder in (base / group, *(base / parent for parent in group.parents)):
            maximum, current = (_number(folder / file) for file in files)
            if maximum is None or current is None:
                continue
            cached = sum(_figures(folder / "memory.stat").get(name, 0) for name in dropped)
            left = max(0, maximum - max(0, current - cached))
            yield AvailableMemory(left, "left by the limit of this container or control group")


def _number(path: Path) -> int | None:
    """A file that holds a number; None for one that is missing or says "max"."""
    text = "".join(_lines(path)).strip()
    return int(text) if text.isascii() and text.isdigit() else None


def _figures(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in _lines(path))
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
