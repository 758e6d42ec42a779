"""The description of the machine beside every result."""

from __future__ import annotations

import os

import numpy as np

import headlong
from headlong.ops.cpu import CpuOps, available_cores, instruction_sets
from headlong.ops.processor import processor_name
from headlong.tools.machine import describe_machine


def test_what_computes_is_described() -> None:
    slowest = instruction_sets()[0]
    machine = describe_machine(CpuOps(1, slowest))
    assert (machine.threads, machine.isa) == (1, slowest)
    assert machine.cores == available_cores()
    assert machine.headlong == headlong.__version__
    assert machine.numpy == np.__version__
    assert machine.processor == processor_name() != ""
    if "SC_PHYS_PAGES" in os.sysconf_names:
        assert machine.memory > 100 << 20


def test_bandwidth_is_a_speed() -> None:
    assert 0.01 < CpuOps(1).read_bandwidth(1 << 20, 2) < 10_000
