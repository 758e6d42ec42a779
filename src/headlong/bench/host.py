"""The machine that measures, and mostly serves too: what a speed depends on.

What the system does not tell is None: a record must not claim what nobody looked up.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headlong.bench.nvml import nvml

__all__ = ["Bandwidth", "Gpu", "Host", "describe_host", "probe_bandwidth"]

_SYSTEM: Final = Path("/")
_PROBED: Final = 256 << 20
"""Bytes that are read: several times the largest cache of most processors."""
_PASSES: Final = 4
_ISA: Final = (
    "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16",
    "asimd", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip
"""Flags of /proc/cpuinfo that decide how fast a model runs."""
_AMD: Final = "0x1002"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One card."""

    name: str
    memory: int | None  # bytes
    driver: str | None
    power_cap: float | None  # watts
    clock: int | None  # MHz, when it was looked up
    pcie: str | None


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """What all cores together read from memory."""

    gb_per_second: float  # the best of some passes
    bytes: int
    threads: int


@dataclass(frozen=True, slots=True)
class Host:
    """A machine and its system."""

    processor: str
    cores: int  # that this process may use
    isa: tuple[str, ...]
    memory: int | None  # bytes
    system: str
    governor: str | None
    container: str | None  # what kind, where it is known to be one
    gpus: tuple[Gpu, ...]
    bandwidth: Bandwidth | None


def describe_host(bandwidth: Bandwidth | None = None, system: Path = _SYSTEM) -> Host:
    """This machine.

    Args:
        bandwidth: what `probe_bandwidth` found, if it was asked.
        system: where ``proc`` and ``sys`` lie, for tests.
    """
    lines = _lines(system / "proc/cpuinfo")
    return Host(
        processor=_processor(lines),
        cores=_cores(),
        isa=_isa(lines),
        memory=_memory(system),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        governor=_word(system / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        container=_container(system),
        gpus=(*_nvidia(), *_amd(system)),
        bandwidth=bandwidth,
    )


def probe_bandwidth(size: int = _PROBED) -> Bandwidth:
    """Read `size` bytes with every core at once, four times; the best pass counts."""
    import numpy as np

    threads = _cores()
    parts = [np.ones(max(1, size // threads // 8), np.uint64) for _ in range(threads)]
    moved = sum(part.nbytes for part in parts)
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(_PASSES):
            began = time.perf_counter()
            list(pool.map(np.bitwise_or.reduce, parts))  # reads every word; others do no less
            best = max(best, moved / (time.perf_counter() - began) / 1e9)
    return Bandwidth(best, moved, threads)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor(lines: list[str]) -> str:
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _isa(lines: list[str]) -> tuple[str, ...]:
    for line in lines:
        if line.lower().startswith(("flags", "features")):
            known = set(line.partition(":")[2].split())
            return tuple(name for name in _ISA if name in known)
    return ()


def _memory(system: Path) -> int | None:
    for line in _lines(system / "proc/meminfo"):
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    with suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def _container(system: Path) -> str | None:
    if (system / ".dockerenv").exists():
        return "docker"
    if (system / "run/.containerenv").exists():
        return "podman"
    return _word(system / "run/systemd/container")


def _nvidia() -> Iterator[Gpu]:
    with nvml() as cards:
        for index in range(len(cards) if cards else 0):
            assert cards is not None
            yield Gpu(
                cards.name(index) or "NVIDIA GPU",
                cards.memory(index),
                cards.driver(),
                cards.power_cap(index),
                cards.clock(index),
                cards.pcie(index),
            )


def _amd(system: Path) -> Iterator[Gpu]:
    """Cards of the amdgpu driver, from sysfs."""
    for card in sorted((system / "sys/class/drm").glob("card[0-9]*")):
        device = card / "device"
        if "-" in card.name or _word(device / "vendor") != _AMD:
            continue
        cap = next((_number(path) for path in sorted(device.glob("hwmon/*/power1_cap"))), None)
        speed, width = _word(device / "current_link_speed"), _word(device / "current_link_width")
        memory = _number(device / "mem_info_vram_total")
        yield Gpu(
            _word(device / "product_name") or f"AMD {_word(device / 'device') or 'GPU'}",
            None if memory is None else int(memory),
            _word(system / "sys/module/amdgpu/version"),
            None if cap is None else cap / 1e6,
            _amd_clock(device),
            f"{speed} x{width}" if speed and width else None,
        )


def _amd_clock(device: Path) -> int | None:
    """The line of pp_dpm_sclk with a star, e.g. ``2: 1801Mhz *``."""
    for line in _lines(device / "pp_dpm_sclk"):
        if line.endswith("*"):
            with suppress(IndexError, ValueError):
                return int(line.split()[1].lower().removesuffix("mhz"))
    return None


def _number(path: Path) -> float | None:
    with suppress(ValueError):
        return float(_word(path) or "")
    return None


def _word(path: Path) -> str | None:
    return next(iter(_lines(path)), None) or None


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(errors="replace").splitlines()]
    except OSError:
        return []
