"""The machine, from a made-up system's files and from the real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from headlong.bench.host import describe_host, probe_bandwidth


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture(autouse=True)
def no_nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headlong.bench.nvml._LIBRARY", "libnone.so")


def test_a_machine_with_a_card_of_amd(tmp_path: Path) -> None:
    write(
        tmp_path / "proc/cpuinfo",
        "processor : 0\nmodel name : Fast CPU\nflags : fpu avx2 avx512f avx512_vnni\n",
    )
    write(tmp_path / "proc/meminfo", "MemFree: 1 kB\nMemTotal:  1048576 kB\n")
    write(tmp_path / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n")
    write(tmp_path / "run/.containerenv", "")
    card = tmp_path / "sys/class/drm/card1/device"
    write(card / "vendor", "0x1002\n")
    write(card / "product_name", "Radeon\n")
    write(card / "mem_info_vram_total", f"{1 << 34}\n")
    write(card / "hwmon/hwmon3/power1_cap", "225000000\n")
    write(card / "current_link_speed", "16.0 GT/s PCIe\n")
    write(card / "current_link_width", "16\n")
    write(card / "pp_dpm_sclk", "0: 500Mhz\n1: 1801Mhz *\n")
    write(tmp_path / "sys/class/drm/card1-DP-1/device/vendor", "0x1002\n")
    write(tmp_path / "sys/class/drm/card0/device/vendor", "0x8086\n")
    host = describe_host(system=tmp_path)
    assert host.processor == "Fast CPU"
    assert host.isa == ("avx2", "avx512f", "avx512_vnni")
    assert host.memory == 1 << 30
    assert (host.governor, host.container) == ("performance", "podman")
    (gpu,) = host.gpus
    assert (gpu.name, gpu.memory, gpu.power_cap, gpu.clock) == ("Radeon", 1 << 34, 225.0, 1801)
    assert gpu.pcie == "16.0 GT/s PCIe x16"
    assert gpu.driver is None


def test_what_nobody_tells_is_none(tmp_path: Path) -> None:
    host = describe_host(system=tmp_path)
    assert (host.governor, host.container, host.gpus, host.isa) == (None, None, (), ())
    assert host.processor


def test_this_machine() -> None:
    bandwidth = probe_bandwidth(8 << 20)
    host = describe_host(bandwidth)
    assert host.cores == bandwidth.threads >= 1
    assert host.bandwidth is not None
    assert 0.1 < host.bandwidth.gb_per_second < 20_000
