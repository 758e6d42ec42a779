"""Numbers as people read them."""

from __future__ import annotations

from typing import Final

__all__ = ["byte_size", "decimals", "percent", "rate", "seconds"]

_UNITS: Final = ("KiB", "MiB", "GiB", "TiB")


def percent(share: float | None) -> str:
    """A share of 0 to 1 as ``64 %``; ``-`` for None."""
    return "-" if share is None else f"{100 * share:.0f} %"


def rate(per_second: float) -> str:
    """Tokens per second; ``-`` for 0, which stands for not measured."""
    return f"{per_second:.1f} tok/s" if per_second else "- tok/s"


def seconds(duration: float) -> str:
    """A duration in seconds, to the hundredth."""
    return f"{duration:.2f} s"


def decimals(value: float | None) -> str:
    """A number with two decimals; ``-`` for None."""
    return "-" if value is None else f"{value:.2f}"


def byte_size(count: int) -> str:
    """A number of bytes in the largest binary unit that leaves at least 1: ``1.2 GiB``."""
    if count < 1024:
        return f"{count} B"
    power = min((count.bit_length() - 1) // 10, len(_UNITS))
    return f"{count / 1024**power:.1f} {_UNITS[power - 1]}"
