"""What a token costs after the pass: the sampler by setting, and the LM head with and without rows.

Rows are as wide as Qwen3.5's vocabulary. Their probabilities fall with a power of the rank, at
three powers: a model that is sure, one in doubt, one that hardly knows. Several rows take turns, so
that each comes from the last-level cache as it would after a pass. The head is compared within a
round, because the memory rate of a shared machine drifts by more than what is measured.

    python benchmarks/sampler.py [--isa NAME] [--threads N] [--type Q6_K] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from headlong import _native
from headlong.gguf.quant import quantise
from headlong.gguf.types import GGMLType
from headlong.sampling import Sampler, SamplingParams

VOCAB = 248_320
UNUSED = range(VOCAB - 243, VOCAB)
COLS = 2048  # of a 2B model
POWERS = {"sure": 3.0, "in doubt": 1.6, "lost": 1.15}
COPIES = 8  # 8 MB of rows
WINDOW = 4096
BEST = 40

OPEN = SamplingParams(temperature=0.8, top_k=0, top_p=1.0, min_p=0.0)
SETTINGS = {
    "greedy": SamplingParams(temperature=0.0),
    "defaults": SamplingParams(),
    "temperature only": OPEN,
    "top-p only": SamplingParams(top_k=0, top_p=0.95, min_p=0.0),
    "min-p only": SamplingParams(top_k=0, top_p=1.0, min_p=0.05),
    "typical only": SamplingParams(top_k=0, top_p=1.0, min_p=0.0, typical_p=0.95),
    f"penalties over {WINDOW}": SamplingParams(
        repeat_penalty=1.1, frequency_penalty=0.1, repeat_last_n=WINDOW
    ),
}
Row = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sampling:
    """Microseconds of one draw from a whole row."""

    setting: str
    rows: str
    entropy: float
    median_us: float
    best_us: float


@dataclass(frozen=True, slots=True)
class Head:
    """One number of rows: what the best cost, over what writing rows and looking through them does.

    Ratios of times in the same round. ``linear`` is the product alone.
    """

    rows: int
    linear_ms: float
    argmax: float
    best_1: float
    best_k: float
    best_k_with_sums: float


def row_of(power: float, seed: int) -> Row:
    """Logits whose softmax falls with a power of the rank, in random order."""
    rng = np.random.default_rng(seed)
    logits = -power * np.log(np.arange(1, VOCAB + 1)) + rng.normal(0, 0.3, VOCAB) + 20
    return rng.permutation(logits).astype(np.float32)


def entropy_of(row: Row) -> float:
    p = np.exp(row.astype(np.float64) - row.max())
    p /= p.sum()
    return float(-(p * np.log(p)).sum())


def sampling(isa: str, repeats: int) -> list[Sampling]:
    """Every setting on every kind of row."""
    results = []
    for kind, power in POWERS.items():
        rows = [row_of(power, seed) for seed in range(COPIES)]
        entropy = median(entropy_of(row) for row in rows)
        for name, params in SETTINGS.items():
            sampler = Sampler(params, VOCAB, 1, UNUSED, isa=isa)
            history = sampler.history(np.random.default_rng(9).permutation(VOCAB - 243)[:WINDOW])
            times = []
            for i in range(repeats):
                row = rows[i % COPIES]
                start = time.perf_counter()
                sampler.sample(row, history, WINDOW)
                times.append((time.perf_counter() - start) * 1e6)
            results.append(Sampling(name, kind, entropy, median(times), min(times)))
    return results


def head_matrix(backend: _native.Backend, kind: GGMLType) -> _native.Packed:
    """A head of the benchmark's size; a few thousand distinct rows."""
    rng = np.random.default_rng(1)
    some = quantise(rng.standard_normal((2048, COLS)).astype(np.float32), kind)
    raw = np.ascontiguousarray(some).view(np.uint8).reshape(2048, -1)
    packed = _native.Packed(int(kind), VOCAB, COLS)
    for first in range(0, VOCAB, len(raw)):
        packed.fill(backend, raw[: VOCAB - first], first)
    return packed


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def head(backend: _native.Backend, kind: GGMLType, rounds: int) -> list[Head]:
    """The fused head against linear and arg-max, for one row and for more."""
    weight = head_matrix(backend, kind)
    allowed = np.packbits(np.arange(VOCAB) < UNUSED.start, bitorder="little")
    results = []
    for n in (1, 4, 8):
        x = np.random.default_rng(2).standard_normal((n, COLS)).astype(np.float32)
        out = np.empty((n, VOCAB), np.float32)
        index, value = np.empty(n, np.int32), np.empty(n, np.float32)
        sums = np.empty(n)

        def rows_and_argmax(x: Row = x, out: Row = out, index=index, value=value) -> None:  # type: ignore[no-untyped-def]
            _native.linear(backend, x, None, 0.0, [weight], [out])
            _native.argmax_rows(backend, out, index, value)

        def best(k: int, wanted: npt.NDArray[np.float64] | None, x: Row = x) -> None:
            values, ids = np.empty((len(x), k), np.float32), np.empty((len(x), k), np.int32)
            _native.best(backend, x, weight, allowed, values, ids, wanted)

        linear, ratios = [], []
        for _ in range(rounds + 1):
            base = seconds(
                lambda x=x, out=out: _native.linear(backend, x, None, 0.0, [weight], [out])
            )  # type: ignore[misc]
            others = [
                seconds(rows_and_argmax),
                seconds(lambda: best(1, None)),
                seconds(lambda: best(BEST, None)),
                seconds(lambda sums=sums: best(BEST, sums)),  # type: ignore[misc]
            ]
            linear.append(base)
            ratios.append([t / base for t in others])
        middle = np.median(np.array(ratios[1:]), axis=0).tolist()  # the first round warms up
        results.append(Head(n, median(linear[1:]) * 1e3, *middle))
    return results


def main() -> None:
    """Measures and prints; writes JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--isa", default=_native.isas()[-1], choices=_native.isas())
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--type", default="Q6_K", help="of the head's weights")
    parser.add_argument("--repeats", type=int, default=200, help="draws of each setting")
    parser.add_argument("--rounds", type=int, default=15, help="of the head; 0 leaves it out")
    parser.add_argument("--json", type=Path, help="file to write the measurements to")
    args = parser.parse_args()
    drawn = sampling(args.isa, args.repeats)
    print(f"{args.isa}: microseconds for one draw out of {VOCAB:,} logits, median (best)")
    kinds = {s.rows: s.entropy for s in drawn}
    print(" " * 22 + "".join(f"{f'{k}, {e:.1f} nats':>22}" for k, e in kinds.items()))
    for name in SETTINGS:
        found = [s for s in drawn if s.setting == name]
        cells = "".join(f"{f'{s.median_us:.0f} ({s.best_us:.0f})':>22}" for s in found)
        print(f"{name:22}{cells}")
    heads = []
    if args.rounds:
        backend = _native.Backend(args.threads, args.isa)
        heads = head(backend, GGMLType[args.type], args.rounds)
        print(
            f"\n{args.type} head of {VOCAB:,} x {COLS}, {args.threads} threads: times over linear's"
        )
        print(f"rows  linear    and arg-max     best 1    best {BEST}    with sums")
        for h in heads:
            print(
                f"{h.rows:4}{h.linear_ms:6.1f} ms{h.argmax:14.3f}{h.best_1:11.3f}"
                f"{h.best_k:11.3f}{h.best_k_with_sums:13.3f}"
            )
    if args.json:
        report = {
            "machine": platform.processor() or platform.machine(),
            "isa": args.isa,
            "threads": args.threads,
            "sampling": [asdict(s) for s in drawn],
            "head": [asdict(h) for h in heads],
        }
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
