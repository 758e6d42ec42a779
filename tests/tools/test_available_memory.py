"""What memory there is, read from made-up systems."""

from __future__ import annotations

from pathlib import Path

from headlong.tools.available_memory import AvailableMemory, available_memory

GIB = 1 << 30


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


MEMINFO = {"proc/meminfo": f"MemTotal: 99 kB\nMemAvailable:  {8 * GIB // 1024} kB\nCached: 1 kB\n"}


def test_here_there_is_some() -> None:
    found = available_memory()
    assert found is not None and found.bytes > 1 << 20


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    assert available_memory(tmp_path) is None


def test_without_a_container_the_machine_counts(tmp_path: Path) -> None:
    write(tmp_path, MEMINFO)
    assert available_memory(tmp_path) == AvailableMemory(8 * GIB, "available on this machine")


def test_version_2_groups_limit_from_any_level(tmp_path: Path) -> None:
    stat = f"anon 5\ninactive_file {GIB // 2}\nactive_file {GIB // 2}\n"
    group = "sys/fs/cgroup/a/b"
    write(
        tmp_path,
        {
            **MEMINFO,
            "proc/self/cgroup": "0::/a/b\n",
            f"{group}/memory.max": "max\n",
            f"{group}/memory.current": "77\n",
            "sys/fs/cgroup/a/memory.max": f"{6 * GIB}\n",
            "sys/fs/cgroup/a/memory.current": f"{4 * GIB}\n",
            "sys/fs/cgroup/a/memory.stat": stat,
        },
    )
    found = available_memory(tmp_path)
    assert found is not None
    assert found.bytes == 3 * GIB  # 6 - (4 - 1 of files)
    assert "container" in found.limit


def test_version_1_groups_of_a_container_lie_at_the_base(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            **MEMINFO,
            "proc/self/cgroup": "3:cpu:/x\n4:pids,memory:/docker/1234\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIB}\n",
            "sys/fs/cgroup/memory/memory.stat": f"cache 1\ntotal_inactive_file {GIB // 4}\n",
        },
    )
    found = available_memory(tmp_path)
    assert found is not None and found.bytes == 2 * GIB - (GIB - GIB // 4)


def test_a_group_beyond_its_limit_leaves_nothing(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            **MEMINFO,
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": "100\n",
            "sys/fs/cgroup/memory.current": "200\n",
        },
    )
    found = available_memory(tmp_path)
    assert found is not None and found.bytes == 0
