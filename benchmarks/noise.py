"""How much of the machine others used: a speed from a busy machine is no speed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

BUSY_LIMIT = 0.05
STEAL_LIMIT = 0.01
"""Shares of processor time above which a turn counts as disturbed."""

_STAT = Path("/proc/stat")


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Ticks of all processors together since the start of the system."""

    busy: int
    idle: int
    stolen: int  # by other guests of the host

    @classmethod
    def now(cls) -> CpuTimes | None:
        """None where the system does not tell."""
        if not _STAT.exists():
            return None
        # user nice system idle iowait irq softirq steal; guests are counted in user already
        fields = [int(field) for field in _STAT.read_text().splitlines()[0].split()[1:9]]
        user, nice, system, idle, wait, irq, softirq, stolen = fields
        return cls(user + nice + system + irq + softirq, idle + wait, stolen)

    def since(self, before: CpuTimes) -> tuple[float, float]:
        """Shares of the time between: busy, stolen."""
        busy, stolen = self.busy - before.busy, self.stolen - before.stolen
        total = max(1, busy + stolen + self.idle - before.idle)
        return busy / total, stolen / total


@dataclass(frozen=True, slots=True)
class Noise:
    """Of one turn: what others did just before it, and what was stolen during it; 0 to 1."""

    busy_before: float
    stolen: float

    @property
    def disturbed(self) -> bool:
        return self.busy_before > BUSY_LIMIT or self.stolen > STEAL_LIMIT


def busy_now(seconds: float = 0.5) -> float:
    """Share of the processors that is in use while this process waits; 0 if unknown."""
    before = CpuTimes.now()
    time.sleep(seconds)
    after = CpuTimes.now()
    return after.since(before)[0] if before and after else 0.0
