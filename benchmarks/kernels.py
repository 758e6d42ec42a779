"""Speed of the matrix kernels: weight bytes per second, and what more activation rows cost.

A round reads memory in a plain loop, then multiplies one matrix larger than the last-level cache
by every number of rows. What is compared comes from the same round, because the memory rate of a
shared machine drifts by more than what is measured; medians over the rounds are printed. `c(n)` is
the time for n rows over the time for one: near 1 means that verifying n rows costs what decoding
one costs.

    python benchmarks/kernels.py --types Q4_K Q6_K --json benchmarks/results/kernels.json
"""

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np

from headlong import _native
from headlong.gguf.types import GGMLType
from headlong.ops.cpu import CpuOps
from headlong.tools.machine import Machine, describe_machine

TYPES = [
    "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "MXFP4",
    "Q4_K", "Q5_K", "Q6_K", "Q2_K", "IQ4_XS", "F32", "F16", "BF16",
]  # fmt: skip
ROWS = [1, 2, 3, 4, 5, 6, 7, 8]
COLS = 2048  # of a 2B model's layers


@dataclass(frozen=True, slots=True)
class Round:
    """One pass over the numbers of rows."""

    read_gb_per_s: float
    seconds: dict[int, float]  # by rows


@dataclass(frozen=True, slots=True)
class Measurement:
    """One type on one instruction set."""

    type: str
    isa: str
    megabytes: float
    rounds: list[Round]

    def rate(self, rows: int) -> float:
        """GB of weights per second."""
        return median(self.megabytes / 1e3 / r.seconds[rows] for r in self.rounds)

    def cost(self, rows: int) -> float:
        """Time for `rows` rows over the time for one."""
        return median(r.seconds[rows] / r.seconds[1] for r in self.rounds)

    def of_read(self) -> float:
        """Rate with one row over the rate of plain reading."""
        return median(self.megabytes / 1e3 / r.seconds[1] / r.read_gb_per_s for r in self.rounds)


def random_matrix(backend: _native.Backend, kind: GGMLType, megabytes: float) -> _native.Packed:
    """A matrix of random blocks; scales are any half, which costs the kernels nothing."""
    row_bytes = kind.row_bytes(COLS)
    rows = max(16, int(megabytes * 1e6 / row_bytes) // 16 * 16)
    packed = _native.Packed(int(kind), rows, COLS)
    some = np.random.default_rng(1).integers(0, 256, (min(rows, 4096), row_bytes), dtype=np.uint8)
    for first in range(0, rows, len(some)):
        packed.fill(backend, some[: rows - first], first)
    return packed


def measure(
    backend: _native.Backend, kind: GGMLType, megabytes: float, rows: list[int], rounds: int
) -> Measurement:
    """Times one type for every number of rows."""
    packed = random_matrix(backend, kind, megabytes)
    rng = np.random.default_rng(2)
    x = {n: rng.standard_normal((n, COLS)).astype(np.float32) for n in rows}
    out = {n: np.empty((n, packed.rows), np.float32) for n in rows}
    done = []
    for _ in range(rounds + 1):
        read = _native.read_bandwidth(backend, int(megabytes * 1e6), 1)
        seconds = {}
        for n in rows:
            start = time.perf_counter()
            _native.linear(backend, x[n], None, 0.0, [packed], [out[n]])
            seconds[n] = time.perf_counter() - start
        done.append(Round(read, seconds))
    return Measurement(kind.name, backend.isa, packed.nbytes / 1e6, done[1:])  # the first warms up


@dataclass(frozen=True, slots=True)
class Table:
    """All measurements of one machine; its `isa` is the fastest that it has."""

    machine: Machine
    measurements: list[Measurement]

    def with_new(self, new: list[Measurement]) -> "Table":
        """With measurements of the same type and instruction set replaced."""
        fresh = {(m.isa, m.type) for m in new}
        kept = [m for m in self.measurements if (m.isa, m.type) not in fresh]
        order = {name: i for i, name in enumerate(TYPES)}
        every = sorted([*kept, *new], key=lambda m: (m.isa, order[m.type]))
        return Table(self.machine, every)


def load_table(path: Path) -> Table:
    """Reads what `save_table` wrote; raises `ValueError` for anything else."""
    try:
        fields = json.loads(path.read_text())
        measurements = [
            Measurement(
                m["type"], m["isa"], m["megabytes"],
                [Round(r["read_gb_per_s"], {int(n): t for n, t in r["seconds"].items()})
                 for r in m["rounds"]],
            )
            for m in fields["measurements"]
        ]  # fmt: skip
        return Table(Machine(**fields["machine"]), measurements)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is no table of kernels: {error}") from error


def save_table(path: Path, table: Table) -> None:
    """Writes JSON."""
    path.write_text(json.dumps(asdict(table), indent=1) + "\n")


def main() -> None:
    """Measures and prints; writes JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--types", nargs="+", default=TYPES, choices=TYPES)
    parser.add_argument("--isas", nargs="+", default=_native.isas()[-1:], choices=_native.isas())
    parser.add_argument("--rows", nargs="+", type=int, default=ROWS)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--megabytes", type=float, default=100.0, help="size of each matrix")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="file to write to, or to renew in part")
    args = parser.parse_args()
    rows = sorted({1, *args.rows})
    results = []
    for isa in args.isas:
        backend = _native.Backend(args.threads, isa)
        print(
            f"\n{isa}, {args.threads} threads; GB/s of weights by rows, and costs against one row"
        )
        print("type     read" + "".join(f"{n:8d}" for n in rows) + "  of read"
              + "".join(f"  c({n})" for n in rows[1:]))  # fmt: skip
        for name in args.types:
            m = measure(backend, GGMLType[name], args.megabytes, rows, args.rounds)
            results.append(m)
            read = median(r.read_gb_per_s for r in m.rounds)
            print(f"{name:7}{read:6.1f}" + "".join(f"{m.rate(n):8.1f}" for n in rows)
                  + f"{m.of_read():9.0%}" + "".join(f"{m.cost(n):6.2f}" for n in rows[1:]),
                  flush=True)  # fmt: skip
    if args.json:
        table = Table(describe_machine(CpuOps(args.threads)), [])
        if args.json.exists():
            table = Table(table.machine, load_table(args.json).measurements)
        save_table(args.json, table.with_new(results))


if __name__ == "__main__":
    main()
