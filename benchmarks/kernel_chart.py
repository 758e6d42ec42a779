"""The table of kernels as a picture: GB/s of weights by type and rows, one panel for each
instruction set, darker where it comes nearer to what plain reading gives.

    python -m benchmarks.kernel_chart benchmarks/results/kernels.json benchmarks/results/kernels.svg
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from benchmarks.kernels import Measurement, Table, load_table
from benchmarks.svg import SOFT, picture, text

_LEFT, _TOP, _CELL, _ROW, _GAP = 84, 108, 44, 22, 30
_DARK = (30, 96, 200)


def draw(table: Table) -> str:
    """One panel beside the other, the slowest instruction set on the right."""
    isas = sorted({m.isa for m in table.measurements}, key=["avx512", "avx2", "portable"].index)
    types = list(dict.fromkeys(m.type for m in table.measurements))
    rows = sorted({n for m in table.measurements for n in m.rounds[0].seconds})
    panel = _CELL * len(rows)
    width = _LEFT + (panel + _GAP) * len(isas)
    height = _TOP + _ROW * len(types) + 20
    reads = [r.read_gb_per_s for m in table.measurements for r in m.rounds]
    machine = table.machine
    caption = (
        f"{machine.processor}, {machine.threads} threads; medians. Plain reading at the same "
        f"time: {median(reads):.0f} GB/s."
    )
    parts = []
    for i, name in enumerate(types):
        parts.append(text(_LEFT - 10, _TOP + _ROW * i + 15, name, anchor="end"))
    for i, isa in enumerate(isas):
        x = _LEFT + (panel + _GAP) * i
        parts.append(text(x, 78, isa, weight="600"))
        parts += [
            text(x + _CELL * c + _CELL // 2, 98, str(n), anchor="middle", fill=SOFT)
            for c, n in enumerate(rows)
        ]
        for m in table.measurements:
            if m.isa == isa:
                parts += _cells(m, rows, x, _TOP + _ROW * types.index(m.type))
    heading = "GB of weights per second, by type and activation rows"
    return picture(width, height, heading, caption, parts)


def _cells(m: Measurement, rows: Sequence[int], x: int, y: int) -> Iterator[str]:
    for c, n in enumerate(rows):
        near = min(
            1.0, median(m.megabytes / 1e3 / r.seconds[n] / r.read_gb_per_s for r in m.rounds)
        )
        colour = "#" + "".join(f"{round(255 + (dark - 255) * near):02x}" for dark in _DARK)
        left = x + _CELL * c
        yield (
            f"<rect x='{left}' y='{y}' width='{_CELL - 2}' height='{_ROW - 2}' fill='{colour}'/>"
        )
        rate = m.rate(n)
        yield text(
            left + _CELL // 2 - 1,
            y + 15,
            f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}",
            anchor="middle",
            fill="#ffffff" if near > 0.55 else "#1f2328",
        )


def main() -> None:
    """Draws the picture of a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("picture", type=Path)
    args = parser.parse_args()
    args.picture.write_text(draw(load_table(args.table)))


if __name__ == "__main__":
    main()
