"""Which colour an arm has, and how figures are written: the same on the whole page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from headlong.bench.record import Arm, Band, Record

__all__ = ["Look", "band_text", "bytes_text", "hardware", "look_of", "model_name", "number"]

_HUES: Final = 6
_SHADES: Final = 4
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True, slots=True)
class Look:
    """Colours of arms: a hue for each server, a shade for each of its modes, grey for plain."""

    kinds: tuple[tuple[str, str], ...]

    def of(self, arm: str) -> str:
        """Classes of the style sheet."""
        return dict(self.kinds).get(arm, "h0 s1")


def look_of(arms: Sequence[Arm]) -> Look:
    """Give every arm its colour."""
    servers = list(dict.fromkeys(arm.server for arm in arms))
    kinds = []
    for arm in arms:
        hue = servers.index(arm.server) % _HUES
        modes = [one.name for one in arms if one.server == arm.server and one.draft != 0]
        shade = 0 if arm.draft == 0 else 1 + modes.index(arm.name) % _SHADES
        kinds.append((arm.name, f"h{hue} s{shade}"))
    return Look(tuple(kinds))


def number(value: float | None, digits: int = 1, unit: str = "") -> str:
    """A figure; an en dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}{unit}"


def band_text(band: Band | None, digits: int = 1, unit: str = "") -> str:
    """A figure with its interval."""
    if band is None:
        return "–"
    if band.low is None or band.high is None:
        return f"{band.value:.{digits}f}{unit}"
    return f"{band.value:.{digits}f}{unit} [{band.low:.{digits}f} to {band.high:.{digits}f}{unit}]"


def bytes_text(count: int | None) -> str:
    """A number of bytes in the largest binary unit that leaves at least 1."""
    if count is None:
        return "–"
    power = min(max(0, count.bit_length() - 1) // 10, len(_UNITS) - 1)
    return f"{count / 1024**power:.{1 if power else 0}f} {_UNITS[power]}"


def model_name(arm: Arm) -> str:
    """The model as its file or its server calls it."""
    if arm.file is not None:
        return arm.file.name or arm.file.file
    return arm.model.rpartition("/")[2] or arm.model


def hardware(record: Record, arm: Arm) -> str:
    """Where an arm ran, in a few words."""
    if not arm.local:
        return "another machine"
    cards = [
        gpu.name + (f" @ {gpu.power_cap:.0f} W" if gpu.power_cap else "")
        for gpu in record.host.gpus
    ]
    if cards:
        return ", ".join(f"{cards.count(c)}× {c}" if cards.count(c) > 1 else c for c in set(cards))
    return f"{record.host.processor}, {record.host.cores} cores"
