"""What the interpreter costs: passes and draft steps called eagerly and replayed, in turns.

A round runs everything once, eager and replayed one after the other, since the speed of a shared
machine drifts by more than what is compared; medians over the rounds, and of their ratios.

    python benchmarks/replay.py [model.gguf] [--threads N] [--rounds N]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from headlong.cache.memory import Cache
from headlong.engine.load import load_model
from headlong.models.mtp import MTPHead
from headlong.models.qwen35 import Qwen35
from headlong.ops.batch import Batch, FloatArray, Segment
from headlong.ops.cpu import CpuOps, CpuWeight
from headlong.progress import Silent
from headlong.tools.demo import bundled_model

POSITION = 100
MAX_DRAFT = 8
ROWS = (1, 4)


@dataclass(frozen=True, slots=True)
class Case:
    """The same work in two ways."""

    name: str
    eager: Callable[[], object]
    replayed: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Result:
    """Microseconds of one case by round."""

    name: str
    eager: tuple[float, ...]
    replayed: tuple[float, ...]

    @property
    def saved(self) -> float:
        """Median share of the eager time that replaying saves."""
        return 1 - median(r / e for e, r in zip(self.eager, self.replayed, strict=True))


def pass_case(trunk: Qwen35[CpuWeight], cache: Cache, segment: Segment) -> Case:
    """A verification pass, without the LM head."""
    batch = Batch.of([segment])

    def forward(batch: Batch) -> FloatArray:
        return trunk.forward(batch, cache.kv, cache.recurrent)

    program = trunk.ops.program(forward)
    rows = segment.tokens.size
    return Case(f"pass, {rows} rows", lambda: forward(batch), lambda: program(batch))


def draft_case(head: MTPHead[CpuWeight], cache: Cache, segment: Segment) -> Case:
    """A step of the MTP head, without draft logits."""
    layer = cache.mtp_kv
    assert layer is not None
    hidden = np.ones((segment.tokens.size, head.config.hidden), np.float32)
    batch = Batch.of([segment])

    def forward(batch: Batch, hidden: FloatArray) -> FloatArray:
        return head.forward(batch, hidden, layer)

    program = head.ops.program(forward)
    rows = segment.tokens.size
    return Case(
        f"draft, {rows} rows", lambda: forward(batch, hidden), lambda: program(batch, hidden)
    )


def measure(cases: Sequence[Case], rounds: int) -> list[Result]:
    """Time every case in both ways, in turns."""
    eager: list[list[float]] = [[] for _ in cases]
    replayed: list[list[float]] = [[] for _ in cases]
    for number in range(rounds + 2):  # the first records, the second finds caches warm
        for case, first, second in zip(cases, eager, replayed, strict=True):
            for call, times in ((case.eager, first), (case.replayed, second)):
                began = time.perf_counter()
                call()
                times.append((time.perf_counter() - began) * 1e6)
        if number == 1:
            for times in (*eager, *replayed):
                times.clear()
    return [
        Result(case.name, tuple(a), tuple(b))
        for case, a, b in zip(cases, eager, replayed, strict=True)
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", help="the bundled model if none is named")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=200)
    args = parser.parse_args(argv)
    ops = CpuOps(args.threads)
    with nullcontext(args.model) if args.model else bundled_model() as path:
        model = load_model(path, ops, Silent())
    cache = Cache(
        model.config, context=512, sequences=1, kv_type="f16", max_draft=MAX_DRAFT,
        mtp=model.head is not None,
    )  # fmt: skip
    lease = cache.lease()
    pages = lease.reserve(POSITION + max(ROWS))
    segments = [
        Segment(lease.slot, POSITION, np.arange(rows, dtype=np.int32), pages, final=1)
        for rows in ROWS
    ]
    cases = [pass_case(model.trunk, cache, segment) for segment in segments]
    if model.head is not None:
        cases += [draft_case(model.head, cache, segment) for segment in segments]
    print(f"{path.name}, {ops.isa}, {ops.threads} threads, {args.rounds} rounds")
    print(f"{'':<16}{'eager us':>10}{'replayed us':>13}{'saved us':>10}{'saved':>8}")
    for r in measure(cases, args.rounds):
        a, b = median(r.eager), median(r.replayed)
        print(f"{r.name:<16}{a:>10.1f}{b:>13.1f}{a - b:>10.1f}{r.saved:>8.1%}")


if __name__ == "__main__":
    main()
