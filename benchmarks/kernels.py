"""Speed of the matrix kernels: weight bytes per second, and what more activation rows cost.

For each packed type and number of rows one matrix larger than the last-level cache is multiplied
several times; the best time counts, since other work on the machine can only add to it. Beside it
stands the rate at which a plain loop reads memory with the same threads. `c(n)` is the time for n
rows over the time for one: near 1 means that verifying n drafts costs what decoding costs.

    python benchmarks/kernels.py --types Q4_K Q6_K --json results/kernels.json
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from headlong import _native
from headlong.gguf.types import GGMLType

TYPES = [
    "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "MXFP4",
    "Q4_K", "Q5_K", "Q6_K", "Q2_K", "IQ4_XS", "F32", "F16", "BF16",
]  # fmt: skip
ROWS = [1, 2, 3, 4, 5, 6, 8]
COLS = 2048  # of a 2B model's layers


@dataclass(frozen=True, slots=True)
class Measurement:
    """One type on one instruction set."""

    type: str
    isa: str
    megabytes: float
    seconds: dict[int, float]  # by rows

    def rate(self, rows: int) -> float:
        """GB of weights per second."""
        return self.megabytes / 1e3 / self.seconds[rows]

    def cost(self, rows: int) -> float:
        """Time for `rows` rows over the time for one."""
        return self.seconds[rows] / self.seconds[1]


def best_time(call: Callable[[], None], budget: float) -> float:
    """Shortest of at least three calls, and of more until `budget` seconds are used."""
    call()
    best, start, calls = float("inf"), time.perf_counter(), 0
    while calls < 3 or time.perf_counter() - start < budget:
        before = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - before)
        calls += 1
    return best


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
    backend: _native.Backend, kind: GGMLType, megabytes: float, rows: list[int], budget: float
) -> Measurement:
    """Times one type for every number of rows."""
    packed = random_matrix(backend, kind, megabytes)
    seconds = {}
    for n in rows:
        x = np.random.default_rng(2).standard_normal((n, COLS)).astype(np.float32)
        out = np.empty((n, packed.rows), np.float32)
        seconds[n] = best_time(
            lambda x=x, out=out: _native.linear(backend, x, None, 0.0, [packed], [out]), budget
        )
    return Measurement(kind.name, backend.isa, packed.nbytes / 1e6, seconds)


def main() -> None:
    """Measures and prints; writes JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--types", nargs="+", default=TYPES, choices=TYPES)
    parser.add_argument("--isas", nargs="+", default=_native.isas()[-1:], choices=_native.isas())
    parser.add_argument("--rows", nargs="+", type=int, default=ROWS)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--megabytes", type=float, default=100.0, help="size of each matrix")
    parser.add_argument("--budget", type=float, default=0.3, help="seconds per measurement")
    parser.add_argument("--json", type=Path, help="file to write the measurements to")
    args = parser.parse_args()
    rows = sorted({1, *args.rows})
    results = []
    bandwidth = {}
    for isa in args.isas:
        backend = _native.Backend(args.threads, isa)
        bandwidth[isa] = _native.read_bandwidth(backend, int(args.megabytes * 1e6), 8)
        print(f"\n{isa}, {args.threads} threads; plain reading: {bandwidth[isa]:.1f} GB/s")
        print("type    " + "".join(f"  GB/s({n})" for n in rows) + "  " + " of read  "
              + "".join(f"  c({n})" for n in rows[1:]))  # fmt: skip
        for name in args.types:
            m = measure(backend, GGMLType[name], args.megabytes, rows, args.budget)
            results.append(m)
            print(f"{name:8}" + "".join(f"{m.rate(n):9.1f}" for n in rows)
                  + f"{m.rate(1) / bandwidth[isa]:10.0%} "
                  + "".join(f"{m.cost(n):6.2f}" for n in rows[1:]), flush=True)  # fmt: skip
    if args.json:
        report = {
            "machine": platform.processor() or platform.machine(),
            "threads": args.threads,
            "read_gb_per_s": bandwidth,
            "measurements": [asdict(m) for m in results],
        }
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
