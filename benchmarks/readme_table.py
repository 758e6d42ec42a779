"""The results in the README, made from the records: `python -m benchmarks.readme_table`.

What stands between the two markers is replaced.  Without records nothing stands there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.record import FOLDER, HEADLONG, Report, load_all
from benchmarks.session import AUTO
from benchmarks.table import made_up, version

from headlong.tools.samples import Samples

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- results -->", "<!-- /results -->"

_HEADING = "## How fast"
_COLUMNS = (
    "file", "engine", "plain, tok/s", "auto, tok/s", "best, tok/s", "gain", "prompt, tok/s",
    "same tokens",
)  # fmt: skip


def block(results: Sequence[tuple[Path, Report]]) -> str:
    """Heading, table, notes and charts; empty without results."""
    if not results:
        return ""
    reports = [report for _, report in results]
    parts = [
        _HEADING,
        "\n".join(
            [
                f"| {' | '.join(_COLUMNS)} |",
                "|" + "---|" * len(_COLUMNS),
                *(_row(report, engine) for report in reports for engine in report.engines()),
            ]
        ),
        "\n".join(f"- {note}" for note in _notes(reports)),
    ]
    # One picture, of the comparison with the most engines and modes; the others are in the folder.
    charts = [(path.with_suffix(".svg"), report) for path, report in results]
    shown = max(
        (one for one in charts if one[0].exists()), key=lambda one: len(one[1].arms), default=None
    )
    if shown is not None:
        chart, report = shown
        parts.append(f"![{report.file.name}: tokens per second]({_link(chart)})")
    return "\n\n".join(parts) + "\n"


def render(readme: str, results: Sequence[tuple[Path, Report]]) -> str:
    """The README with the results of these records.  Raises `ValueError` without the markers."""
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the README needs a line {BEGIN} and a line {END} after it")
    inside = block(results)
    lines = [BEGIN, "", inside, END] if inside else [BEGIN, END]
    return head + "\n".join(lines) + tail


def _row(report: Report, engine: str) -> str:
    best, plain = report.best(engine), report.plain(engine)
    auto = next((arm for arm in report.of(engine) if arm.draft == AUTO), None)
    prefill = Samples.of(arm.prefill_rates.median for arm in report.of(engine)).high
    cells = (
        f"`{report.file.name}`{' †' if report.file.synthetic else ''}",
        engine,
        f"{plain.rates.median:.1f}" if plain else "-",
        f"{auto.rates.median:.1f}" if auto else "-",
        f"{best.rates.median:.1f} ({best.mode})",
        f"{best.rates.median / plain.rates.median:.2f} x" if plain else "-",
        f"{prefill:.0f}",
        "yes" if all(arm.lossless for arm in report.of(engine)) else "no",
    )
    return f"| {' | '.join(cells)} |"


def _notes(reports: Sequence[Report]) -> list[str]:
    """What the figures mean and where they come from, every line once."""
    notes = [
        "Medians of engines in turns (A B A B) on the same file and the same token ids; greedy. "
        "*Auto* chooses the draft length by itself, *best* is each engine's fastest mode, *gain* "
        "that over plain; *same tokens* compares its drafts with its own plain answers.",
    ]
    for report in reports:
        machine, settings = report.machine, report.settings
        if report.file.synthetic:
            notes.append(f"† {made_up(report)}.")
        notes.append(
            f"Measured on {machine['processor']}, {settings.threads} threads, {machine['isa']}, "
            f"{report.when[:10]}: answers of {settings.tokens} tokens, prompts of "
            f"{settings.prefill}."
        )
        notes += [
            f"{engine}: {version(report, engine)}."
            for engine in report.engines()
            if engine != HEADLONG
        ]
    folder = _link(FOLDER)
    notes.append(f"Every figure: [{folder}]({folder}); again: `python -m benchmarks.models FILE`.")
    return list(dict.fromkeys(notes))


def _link(path: Path) -> str:
    return path.resolve().relative_to(README.parent).as_posix()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="only tell whether it is up to date")
    args = parser.parse_args(argv)
    before = README.read_text()
    after = render(before, list(load_all()))
    if args.check:
        if before != after:
            print("the README is out of date: python -m benchmarks.readme_table", file=sys.stderr)
        return int(before != after)
    README.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
