"""Energy: counters of a made-up system, wrapping, summed power, and nothing to read."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from headlong.bench import energy
from headlong.bench.energy import EnergyMeter, Source, open_meter


@pytest.fixture(autouse=True)
def no_nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headlong.bench.nvml._LIBRARY", "libnone.so")


def write(folder: Path, **files: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name).write_text(f"{value}\n")
    return folder


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    with open_meter(tmp_path) as meter:
        assert meter.source == "not readable"
        assert meter.joules() is None
        assert meter.idle_watts(10.0) is None  # at once


def test_rapl_packages_are_added_and_wrap(tmp_path: Path) -> None:
    zones = tmp_path / "sys/class/powercap"
    limits = {"max_energy_range_uj": 1_000_000_000}
    first = write(zones / "intel-rapl:0", name="package-0", energy_uj=999_000_000, **limits)
    write(zones / "intel-rapl:1", name="package-1", energy_uj=5, **limits)
    write(zones / "intel-rapl:0:0", name="core", energy_uj=1, **limits)
    write(zones / "intel-rapl:2", name="psys", energy_uj=1, **limits)
    with open_meter(tmp_path) as meter:
        assert meter.source == "RAPL package-0 + RAPL package-1"
        assert meter.joules() == 0
        write(first, energy_uj=3_000_000)
        assert meter.joules() == pytest.approx(4.0)
        write(first, energy_uj=5_000_000)
        assert meter.joules() == pytest.approx(6.0)


def test_a_counter_that_is_closed_is_no_source(tmp_path: Path) -> None:
    write(tmp_path / "sys/class/powercap/intel-rapl:0", name="package-0")
    with open_meter(tmp_path) as meter:
        assert not meter.readable


def test_a_counter_that_fails_later_is_none() -> None:
    values = iter([1.0, None])
    meter = EnergyMeter((Source("x", lambda: next(values)),))
    assert meter.joules() is None


def test_power_is_summed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "SAMPLING_SECONDS", 0.01)
    write(tmp_path / "sys/class/hwmon/hwmon0", name="nvme", power1_average=9_000_000)
    write(tmp_path / "sys/class/hwmon/hwmon1", name="amdgpu", power1_average=40_000_000)
    with open_meter(tmp_path) as meter:
        assert meter.source == "hwmon amdgpu (sampled every 0.01 s)"
        watts = meter.idle_watts(0.1)
        assert watts == pytest.approx(40.0, rel=0.01)


def test_a_chip_with_a_counter_is_not_sampled(tmp_path: Path) -> None:
    chip = write(tmp_path / "sys/class/hwmon/hwmon0", name="xe", energy1_input=0, power1_average=1)
    with open_meter(tmp_path) as meter:
        write(chip, energy1_input=7_000_000)
        assert meter.source == "hwmon xe"
        assert meter.joules() == pytest.approx(7.0)


def test_the_sampler_ends(tmp_path: Path) -> None:
    import threading

    write(tmp_path / "sys/class/hwmon/hwmon1", name="amdgpu", power1_input=1)
    with open_meter(tmp_path):
        assert any(thread.name == "energy" for thread in threading.enumerate())
    time.sleep(0)
    assert not any(thread.name == "energy" for thread in threading.enumerate())
