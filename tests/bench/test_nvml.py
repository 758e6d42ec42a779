"""NVIDIA's library, played by a small object: what is asked, and what a card may not tell."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import pytest

from headlong.bench import host, nvml
from headlong.bench.energy import open_meter

NOT_SUPPORTED = 3


@dataclass
class Library:
    """Some functions of the library, as its reference has them, and two cards.

    An older driver: nothing about clocks and links.
    """

    energy: int | None = 5_000
    down: int = 0

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return 0

    def nvmlShutdown(self) -> int:  # noqa: N802
        self.down += 1
        return 0

    def nvmlDeviceGetCount_v2(self, count: object) -> int:  # noqa: N802
        count._obj.value = 2  # type: ignore[attr-defined]
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: object) -> int:  # noqa: N802
        handle._obj.value = 100 + index  # type: ignore[attr-defined]
        return 0

    def nvmlDeviceGetName(self, handle: ctypes.c_void_p, text: object, size: object) -> int:  # noqa: N802
        text.value = f"Card {handle.value}".encode()  # type: ignore[attr-defined]
        return 0

    def nvmlSystemGetDriverVersion(self, text: object, size: object) -> int:  # noqa: N802
        text.value = b"570.1"  # type: ignore[attr-defined]
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: object, memory: object) -> int:  # noqa: N802
        memory._obj.total = 24 << 30  # type: ignore[attr-defined]
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object, used: object) -> int:  # noqa: N802
        if self.energy is None:
            return NOT_SUPPORTED
        used._obj.value = self.energy  # type: ignore[attr-defined]
        return 0

    def nvmlDeviceGetPowerUsage(self, handle: object, watts: object) -> int:  # noqa: N802
        watts._obj.value = 60_000  # type: ignore[attr-defined]
        return 0

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: object, watts: object) -> int:  # noqa: N802
        watts._obj.value = 450_000  # type: ignore[attr-defined]
        return 0


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()
    monkeypatch.setattr(nvml.ctypes, "CDLL", lambda name: made)
    return made


def test_cards_are_described(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = list(host._nvidia())
    assert first == host.Gpu("Card 100", 24 << 30, "570.1", 450.0, None, None)
    assert second.name == "Card 101"
    assert library.down == 1


def test_energy_counters_of_all_cards(library: Library, tmp_path: object) -> None:
    with open_meter(tmp_path) as meter:  # type: ignore[arg-type]
        assert meter.source == "NVML Card 100 0 + NVML Card 101 1"
        library.energy = 6_500
        assert meter.joules() == pytest.approx(3.0)
    assert library.down == 1


def test_cards_without_a_counter_are_sampled(library: Library, tmp_path: object) -> None:
    library.energy = None
    with open_meter(tmp_path) as meter:  # type: ignore[arg-type]
        assert meter.source.count("sampled") == 2
        assert meter.idle_watts(0.05) == pytest.approx(120.0, rel=0.01)


def test_no_library_is_no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "_LIBRARY", "libnone.so")
    with nvml.nvml() as cards:
        assert cards is None
