"""Time attention and the gated delta-net at the shapes of a 2B Qwen3.5 model.

Every call meets memory that the last calls did not touch (slots and pages rotate through more than
the last-level cache holds), as in a pass, where all the weights flow by between two layers.

    python benchmarks/sequence.py [--threads N] [--isa NAME] [--cache f16|q8_0] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from headlong.ops.batch import PAGE, Batch, FloatArray, Segment, rotary_frequencies
from headlong.ops.cpu import CpuOps, instruction_sets
from headlong.ops.protocol import DeltaNetWeights
from headlong.ops.state import KV_TYPES, DeltaNetShape, KVLayer, RecurrentLayer

HEADS, KV_HEADS, HEAD_DIM, ROTATED = 8, 2, 256, 64
SHAPE = DeltaNetShape(key_heads=16, value_heads=16, key_dim=128, value_dim=128, taps=4)
MAX_DRAFT = 8
EPS = 1e-6
CONTEXTS = (1024, 4096, 16384)
ROWS = (1, 4, 8)
PREFILL_ROWS = 256
COLD_BYTES = 160 << 20
"""Memory that calls rotate through: several times a desktop's last-level cache."""


@dataclass(frozen=True, slots=True)
class Result:
    """Median and best time of one call, and the state bytes it must move at least."""

    op: str
    rows: int
    context: int
    median_us: float
    best_us: float
    bytes: int

    @property
    def gb_per_s(self) -> float:
        return self.bytes / self.median_us / 1e3


def measure(call: Callable[[int], object], seconds: float) -> tuple[float, float]:
    """Median and minimum time in microseconds of ``call(i)``, i counting up."""
    call(0)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        call(len(times) + 1)
        times.append((time.perf_counter() - start) * 1e6)
    return statistics.median(times), min(times)


class AttentionCase:
    """Rows at the end of contexts that lie one after another in one large cache."""

    def __init__(self, kind: str, rng: np.random.Generator) -> None:
        token_bytes = 2 * KV_HEADS * HEAD_DIM * (2 if kind == "f16" else 1)
        longest = max(CONTEXTS) // PAGE
        self.pages = max(longest, COLD_BYTES // token_bytes // PAGE)
        self.token_bytes = token_bytes
        self.cache = KVLayer.allocate(self.pages, KV_HEADS, HEAD_DIM, kind)
        for array in (self.cache.k, self.cache.v):
            random = rng.standard_normal(1 << 16).astype(np.float16)
            values = random.view(np.uint16) if kind == "f16" else rng.integers(-127, 128, 1 << 16)
            array[...] = np.resize(values, array.shape).astype(array.dtype)
        for scale in (self.cache.k_scale, self.cache.v_scale):
            if scale is not None:
                scale[...] = np.float16(0.02).view(np.uint16)

    def run(self, ops: CpuOps, rows: int, context: int, rng: np.random.Generator) -> Result:
        qg = rng.standard_normal((rows, HEADS * 2 * HEAD_DIM)).astype(np.float32)
        norm = np.ones(HEAD_DIM, np.float32)
        used = context // PAGE
        batches = []
        for first in range(0, self.pages - used + 1, used):
            pages = np.arange(first, first + used, dtype=np.int32)
            batches.append(one_segment(0, context - rows, rows, rows, pages))
        rope = ops.angles(batches[0], rotary_frequencies(ROTATED, 1e7))

        def call(i: int) -> FloatArray:
            return ops.attend(qg, norm, EPS, rope, self.cache, batches[i % len(batches)])

        median, best = measure(call, 0.3)
        return Result("attend", rows, context, median, best, context * self.token_bytes)


def one_segment(slot: int, start: int, rows: int, final: int, pages: np.ndarray) -> Batch:
    return Batch.of([Segment(slot, start, np.zeros(rows, np.int32), pages, final)])


def delta_net_case(ops: CpuOps, rows: int, final: int, rng: np.random.Generator) -> Result:
    """Rows of one sequence; fewer final than rows is a verify pass that folds as many as before."""
    state_bytes = 4 * SHAPE.value_heads * SHAPE.key_dim * SHAPE.value_dim
    slots = COLD_BYTES // state_bytes
    state = RecurrentLayer.allocate(slots, SHAPE, MAX_DRAFT)
    state.s[...] = 0.01
    state.conv[...] = 0.01

    def random(*dims: int) -> FloatArray:
        return rng.standard_normal(dims).astype(np.float32)

    heads, width = SHAPE.value_heads, SHAPE.value_heads * SHAPE.value_dim
    weights = DeltaNetWeights(
        SHAPE, random(SHAPE.channels, SHAPE.taps), -np.ones(heads, np.float32), random(heads),
        np.ones(SHAPE.value_dim, np.float32),
    )  # fmt: skip
    qkv, z = random(rows, SHAPE.channels), random(rows, width)
    beta, alpha = random(rows, heads), random(rows, heads)
    pages = np.zeros(1, np.int32)
    fold = min(rows - final, MAX_DRAFT)
    tokens = np.zeros(rows, np.int32)
    batches = [Batch.of([Segment(s, 0, tokens, pages, final, fold)]) for s in range(slots)]

    def call(i: int) -> FloatArray:
        batch = batches[i % slots]
        return ops.delta_net(qkv, z, beta, alpha, weights, EPS, state, batch)

    median, best = measure(call, 0.3)
    op = "delta_net" if final == rows else "delta_net verify"
    return Result(op, rows, 0, median, best, 2 * state_bytes)


def run(threads: int | None, isa: str | None, kind: str) -> tuple[CpuOps, list[Result]]:
    rng = np.random.default_rng(1)
    ops = CpuOps(threads, isa)
    attention = AttentionCase(kind, rng)
    results = [attention.run(ops, rows, context, rng) for context in CONTEXTS for rows in ROWS]
    results.append(attention.run(ops, PREFILL_ROWS, max(CONTEXTS) // 4, rng))
    for rows in ROWS:
        results.append(delta_net_case(ops, rows, 1, rng))
    results.append(delta_net_case(ops, PREFILL_ROWS, PREFILL_ROWS, rng))
    return ops, results


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--isa", choices=instruction_sets())
    parser.add_argument("--cache", choices=KV_TYPES, default="f16")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    args = parser.parse_args(argv)
    ops, results = run(args.threads, args.isa, args.cache)
    print(f"{ops.isa}, {ops.threads} threads, {args.cache} cache")
    print(f"{'operation':<18}{'rows':>5}{'context':>9}{'median us':>11}{'best us':>10}{'GB/s':>7}")
    for r in results:
        context = str(r.context or "")
        print(
            f"{r.op:<18}{r.rows:>5}{context:>9}{r.median_us:>11.1f}{r.best_us:>10.1f}"
            f"{r.gb_per_s:>7.1f}"
        )
    if args.json is not None:
        record = {
            "machine": {"processor": processor(), "cores": os.cpu_count()},
            "isa": ops.isa,
            "threads": ops.threads,
            "cache": args.cache,
            "results": [asdict(r) for r in results],
        }
        args.json.write_text(json.dumps(record, indent=2) + "\n")


def processor() -> str:
    """Name of the processor, as the system states it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
