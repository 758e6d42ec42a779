"""NVIDIA cards through their driver's own library: what they are and the energy they used.

Called by ctypes, so nothing has to be installed.  Function names and constants are those of the
NVML API reference.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

__all__ = ["Nvml", "nvml"]

_LIBRARY: Final = "libnvidia-ml.so.1"
_TEXT: Final = 96
"""NVML_DEVICE_NAME_V2_BUFFER_SIZE, the longest of the texts asked for."""
_SM_CLOCK: Final = 1


class _Memory(ctypes.Structure):
    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


class Nvml:
    """The open library.  Every figure is None where a card or its driver does not tell it."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        count = ctypes.c_uint(0)
        self._ok("nvmlDeviceGetCount_v2", ctypes.byref(count))
        self._cards: list[ctypes.c_void_p] = []
        for index in range(count.value):
            handle = ctypes.c_void_p()
            if self._ok("nvmlDeviceGetHandleByIndex_v2", index, ctypes.byref(handle)):
                self._cards.append(handle)

    def __len__(self) -> int:
        return len(self._cards)

    def driver(self) -> str | None:
        """Version of the driver."""
        return self._text("nvmlSystemGetDriverVersion")

    def name(self, card: int) -> str | None:
        """The product's name."""
        return self._text("nvmlDeviceGetName", self._cards[card])

    def memory(self, card: int) -> int | None:
        """Bytes of memory."""
        memory = _Memory()
        found = self._ok("nvmlDeviceGetMemoryInfo", self._cards[card], ctypes.byref(memory))
        return int(memory.total) if found else None

    def energy(self, card: int) -> float | None:
        """Joules since the driver was loaded."""
        used = ctypes.c_ulonglong(0)
        asked = "nvmlDeviceGetTotalEnergyConsumption"
        return used.value / 1e3 if self._ok(asked, self._cards[card], ctypes.byref(used)) else None

    def power(self, card: int) -> float | None:
        """Watts now."""
        return self._milli("nvmlDeviceGetPowerUsage", card)

    def power_cap(self, card: int) -> float | None:
        """Watts that the card is held to."""
        return self._milli("nvmlDeviceGetEnforcedPowerLimit", card)

    def clock(self, card: int) -> int | None:
        """MHz of the processors now."""
        clock = ctypes.c_uint(0)
        asked = "nvmlDeviceGetClockInfo"
        found = self._ok(asked, self._cards[card], _SM_CLOCK, ctypes.byref(clock))
        return int(clock.value) if found else None

    def pcie(self, card: int) -> str | None:
        """Generation and lanes of the link now, e.g. ``gen 4 x16``."""
        found = []
        for asked in ("nvmlDeviceGetCurrPcieLinkGeneration", "nvmlDeviceGetCurrPcieLinkWidth"):
            value = ctypes.c_uint(0)
            if not self._ok(asked, self._cards[card], ctypes.byref(value)):
                return None
            found.append(value.value)
        return f"gen {found[0]} x{found[1]}"

    def _milli(self, asked: str, card: int) -> float | None:
        value = ctypes.c_uint(0)
        return (
            value.value / 1e3 if self._ok(asked, self._cards[card], ctypes.byref(value)) else None
        )

    def _text(self, asked: str, *first: ctypes.c_void_p) -> str | None:
        text = ctypes.create_string_buffer(_TEXT)
        found = self._ok(asked, *first, text, ctypes.c_uint(_TEXT))
        return text.value.decode(errors="replace") if found else None

    def _ok(self, name: str, *arguments: object) -> bool:
        function = getattr(self._library, name, None)  # older drivers lack some
        return function is not None and function(*arguments) == 0


@contextmanager
def nvml() -> Iterator[Nvml | None]:
    """The library while the context lasts; None where there is none, or no card."""
    library = None
    with suppress(OSError):
        library = ctypes.CDLL(_LIBRARY)
    if library is None or library.nvmlInit_v2() != 0:
        yield None
        return
    try:
        opened = Nvml(library)
        yield opened if len(opened) else None
    finally:
        library.nvmlShutdown()
