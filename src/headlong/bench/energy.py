"""Energy of the machine while a benchmark runs, from whichever counters it lets us read.

Counters of energy (NVIDIA's driver, RAPL, some hwmon chips) are read before and after; where a chip
tells power alone it is sampled and summed.  What cannot be read is None, never 0.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headlong.bench.nvml import Nvml, nvml

__all__ = ["NOT_READABLE", "EnergyMeter", "Source", "open_meter"]

NOT_READABLE: Final = "not readable"
SAMPLING_SECONDS: Final = 0.1
"""Between samples of chips that tell power alone: 10 a second cost under 0.1 % of a core."""

_SYSTEM: Final = Path("/")
_GRAPHICS: Final = ("amdgpu", "i915", "xe")
"""hwmon names of chips that hold a processor which may run the model."""


@dataclass(frozen=True, slots=True)
class Source:
    """One counter.

    Args:
        name: what it measures and how, e.g. ``RAPL package-0``.
        joules: reads the counter; None when it fails.
        wraps: joules at which the counter begins again; 0 for never.
        sampled: whether it is a sum of power samples.
    """

    name: str
    joules: Callable[[], float | None]
    wraps: float = 0.0
    sampled: bool = False


class EnergyMeter:
    """Adds up what all sources used.  Made by `open_meter`."""

    def __init__(self, sources: tuple[Source, ...]) -> None:
        self._sources = sources
        self._last = [source.joules() for source in sources]
        self._used = [0.0] * len(sources)
        self._lock = threading.Lock()

    @property
    def readable(self) -> bool:
        """Whether there is anything to read."""
        return bool(self._sources)

    @property
    def source(self) -> str:
        """The sources' names, or that there are none."""
        names = [
            f"{one.name} (sampled every {SAMPLING_SECONDS:g} s)" if one.sampled else one.name
            for one in self._sources
        ]
        return " + ".join(names) or NOT_READABLE

    def joules(self) -> float | None:
        """Used since the meter was opened; None where nothing can be read."""
        if not self._sources:
            return None
        with self._lock:
            for index, source in enumerate(self._sources):
                now, before = source.joules(), self._last[index]
                if now is None or before is None:
                    return None
                grown = now - before
                self._used[index] += grown + source.wraps if grown < 0 else grown
                self._last[index] = now
            return sum(self._used)

    def idle_watts(self, seconds: float) -> float | None:
        """Mean power during `seconds` of doing nothing."""
        before, began = self.joules(), time.monotonic()
        time.sleep(seconds if self.readable else 0.0)
        after = self.joules()
        if before is None or after is None:
            return None
        return (after - before) / (time.monotonic() - began)


@contextmanager
def open_meter(system: Path = _SYSTEM) -> Iterator[EnergyMeter]:
    """A meter of this machine.

    Args:
        system: where ``sys`` lies, for tests.
    """
    sampler = _Sampler()
    with nvml() as cards:
        found = [*_nvidia(cards, sampler), *_rapl(system), *_hwmon(system, sampler)]
        with sampler.running():
            yield EnergyMeter(tuple(one for one in found if one.joules() is not None))


def _nvidia(cards: Nvml | None, sampler: _Sampler) -> Iterator[Source]:
    for index in range(len(cards) if cards else 0):
        assert cards is not None
        name = f"NVML {cards.name(index) or 'GPU'} {index}"
        if cards.energy(index) is not None:
            yield Source(name, _bound(cards.energy, index))
        elif cards.power(index) is not None:
            yield Source(name, sampler.sum_of(_bound(cards.power, index)), sampled=True)


def _bound(read: Callable[[int], float | None], index: int) -> Callable[[], float | None]:
    return lambda: read(index)


def _rapl(system: Path) -> Iterator[Source]:
    """Packages and their memory.  Cores and graphics are part of a package, psys holds all."""
    for zone in sorted((system / "sys/class/powercap").glob("intel-rapl:*")):
        name = _word(zone / "name")
        if name is None or not (name.startswith("package") or name == "dram"):
            continue
        wraps = _number(zone / "max_energy_range_uj") or 0.0
        yield Source(f"RAPL {name}", _scaled(zone / "energy_uj", 1e-6), wraps * 1e-6)


def _hwmon(system: Path, sampler: _Sampler) -> Iterator[Source]:
    for chip in sorted((system / "sys/class/hwmon").glob("hwmon*")):
        name = _word(chip / "name")
        if name not in _GRAPHICS:
            continue
        if _number(chip / "energy1_input") is not None:
            yield Source(f"hwmon {name}", _scaled(chip / "energy1_input", 1e-6))
            continue
        for file in ("power1_average", "power1_input"):
            if _number(chip / file) is not None:
                watts = _scaled(chip / file, 1e-6)
                yield Source(f"hwmon {name}", sampler.sum_of(watts), sampled=True)
                break


def _scaled(path: Path, unit: float) -> Callable[[], float | None]:
    def read() -> float | None:
        value = _number(path)
        return None if value is None else value * unit

    return read


def _number(path: Path) -> float | None:
    with suppress(ValueError):
        return float(_word(path) or "")
    return None


def _word(path: Path) -> str | None:
    """A file's text; RAPL counters may be closed to all but root."""
    try:
        return path.read_text().strip()
    except OSError:
        return None


class _Sampler:
    """Sums power over time (trapezoids) in a thread, for chips without a counter."""

    def __init__(self) -> None:
        self._sums: list[_Sum] = []
        self._end = threading.Event()

    def sum_of(self, watts: Callable[[], float | None]) -> Callable[[], float | None]:
        one = _Sum(watts)
        self._sums.append(one)
        return one.joules

    @contextmanager
    def running(self) -> Iterator[None]:
        if not self._sums:
            yield
            return
        thread = threading.Thread(target=self._sample, name="energy", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._end.set()
            thread.join()

    def _sample(self) -> None:
        while not self._end.wait(SAMPLING_SECONDS):
            for one in self._sums:
                one.joules()


class _Sum:
    def __init__(self, watts: Callable[[], float | None]) -> None:
        self._watts = watts
        self._lock = threading.Lock()
        self._joules = 0.0
        self._at = time.monotonic()
        self._last = watts()

    def joules(self) -> float | None:
        with self._lock:
            now, watts = time.monotonic(), self._watts()
            if watts is None or self._last is None:
                return None
            self._joules += (now - self._at) * (watts + self._last) / 2
            self._at, self._last = now, watts
            return self._joules
