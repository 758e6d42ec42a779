"""How speed falls with the length of a context: decode passes and chunks of a prompt by position.

The cache is filled with made-up keys and values, so that any position can be timed at once; the
time does not depend on them. The delta-net should cost the same everywhere, attention in proportion
to the position, and nothing else should change.

    python -m benchmarks.long_contexts MODEL.gguf --contexts 1024 4096 8192 16384 32768
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.ledger import Case, Pass, TimedOps

from headlong.engine.load import load_model
from headlong.ops.cpu import instruction_sets
from headlong.progress import Silent
from headlong.tools.machine import describe_machine

CHUNK = 256  # prompt rows of a pass
ROWS = (1, 4)


@dataclass(frozen=True, slots=True)
class Line:
    """Passes of some rows at one position; ``kind`` is ``decode`` or ``prompt``."""

    kind: str
    rows: int
    context: int
    passes: list[Pass]

    @property
    def seconds(self) -> float:
        """Of all operations of a pass."""
        return median(sum(a.seconds for a in p.accounts.values()) for p in self.passes)

    def part(self, op: str) -> float:
        """Seconds in one operation."""
        return median(p.accounts[op].seconds for p in self.passes)


def measure(
    case: Case, contexts: Sequence[int], rows: Sequence[int], chunk: int, passes: int
) -> list[Line]:
    """All lines; the first pass of each warms up."""
    lines = []
    for context in contexts:
        for n in rows:
            done = [case.verify(n, context) for _ in range(passes + 1)]
            lines.append(Line("decode", n, context, done[1:]))
        chunks = [case.prefill(chunk, context - chunk) for _ in range(max(2, passes // 2))]
        lines.append(Line("prompt", chunk, context, chunks[1:]))
    return lines


def show(lines: Sequence[Line]) -> None:
    """A table, kind by kind."""
    print(
        f"{'pass':<8}{'rows':>5}{'context':>9}{'ms':>9}{'rows/s':>9}"
        f"{'attend ms':>11}{'share':>7}{'delta-net ms':>14}{'share':>7}"
    )
    for line in sorted(lines, key=lambda x: (x.kind, x.rows, x.context)):
        total, attend, delta = line.seconds, line.part("attend"), line.part("delta_net")
        print(
            f"{line.kind:<8}{line.rows:>5}{line.context:>9}{1e3 * total:>9.1f}"
            f"{line.rows / total:>9.1f}{1e3 * attend:>11.2f}{attend / total:>7.1%}"
            f"{1e3 * delta:>14.2f}{delta / total:>7.1%}"
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; writes JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--contexts", nargs="+", type=int, default=[1024, 4096, 8192, 16384, 32768])
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--isa", choices=instruction_sets())
    parser.add_argument("--json", type=Path, help="also write the measurements to this file")
    args = parser.parse_args(argv)
    if min(args.contexts) < CHUNK:
        parser.error(f"--contexts: a chunk of a prompt takes {CHUNK} positions")
    ops = TimedOps(args.threads, args.isa)
    model = load_model(args.model, ops, Silent(), mtp=False)
    case = Case(model, ops, max(args.contexts) + max(ROWS), 1)
    lines = measure(case, args.contexts, ROWS, CHUNK, args.passes)
    print(f"{args.model.name}, {ops.isa}, {ops.threads} threads")
    show(lines)
    if args.json is not None:
        record = {
            "model": args.model.name,
            "machine": asdict(describe_machine(ops)),
            "lines": [asdict(line) for line in lines],
        }
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
