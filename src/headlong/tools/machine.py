"""The machine and the versions that a measurement belongs to."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

import numpy as np

import headlong
from headlong.ops.cpu import CpuOps, available_cores
from headlong.ops.processor import processor_name

__all__ = ["Machine", "describe_machine"]


@dataclass(frozen=True, slots=True)
class Machine:
    """Where something was measured, and with which kernels."""

    processor: str
    cores: int  # that this process may use
    memory: int  # bytes; 0 where the system does not tell
    system: str
    isa: str  # instruction set of the kernels
    threads: int  # that computed
    headlong: str
    python: str
    numpy: str


def describe_machine(ops: CpuOps) -> Machine:
    """This machine, with the kernels and threads of `ops`."""
    return Machine(
        processor=processor_name(),
        cores=available_cores(),
        memory=_memory(),
        system=f"{platform.system()} {platform.machine()}",
        isa=ops.isa,
        threads=ops.threads,
        headlong=headlong.__version__,
        python=platform.python_version(),
        numpy=np.__version__,
    )


def _memory() -> int:
    names = getattr(os, "sysconf_names", {})
    if "SC_PAGE_SIZE" not in names or "SC_PHYS_PAGES" not in names:
        return 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
