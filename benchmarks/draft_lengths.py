"""Every fixed draft length against the chosen one, on files of different acceptance.

For each file the lengths 0 to 7 and `auto` answer the same prompts in turns, in one process with
one copy of the weights, so that nothing but the length differs.  `auto` should be close to the best
of the others, which it does not know, and never behind 0.  Every turn has another prompt: which
drafts of an answer are right is luck, and the best of eight lengths has had most of it.

    python -m benchmarks.draft_lengths a00.gguf a30.gguf a60.gguf a80.gguf a95.gguf

Writes results/draft-lengths.json and a chart beside it.  Files measured before stay in it, so that
they may be measured one at a time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.draft_lengths_chart import draw

from headlong.engine.load import load_model
from headlong.errors import HeadlongError
from headlong.ops.cpu import CpuOps, available_cores
from headlong.progress import Silent
from headlong.speculation import SpeculationStats
from headlong.tools.machine import describe_machine
from headlong.tools.prompts import DEMO_PROMPT, VERIFY_PROMPTS
from headlong.tools.samples import Samples
from headlong.tools.tune_model import AUTO, Drafting, TunedModel

SCHEMA = 1
OUT = Path(__file__).with_name("results") / "draft-lengths.json"
CHAIN = 16
"""Tokens that a rehearsal model writes by itself, to be its prompt."""


@dataclass(frozen=True, slots=True)
class Length:
    """Answers with one draft length: tokens per second of each, and means over all."""

    draft: Drafting
    rates: tuple[float, ...]
    drafted: float  # tokens per round
    tokens_per_round: float

    @property
    def median(self) -> float:
        return Samples(self.rates).median


@dataclass(frozen=True, slots=True)
class Ratio:
    """A median of ratios taken turn by turn, and its 95 % bootstrap interval."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class FileLengths:
    """One file: its lengths in order, `auto` last."""

    name: str
    when: str  # ISO 8601, UTC
    accept: float | None  # chance of each draft by choice, where weights are made up
    tokens: int  # of each answer
    identical: bool  # whether all answers were the same
    lengths: tuple[Length, ...]

    @property
    def auto(self) -> Length:
        return self.lengths[-1]

    @property
    def best(self) -> Length:
        """The fastest fixed length."""
        return max(self.lengths[:-1], key=lambda one: one.median)

    def ratio(self, base: Length) -> Ratio:
        """Speed of `auto` as a multiple of another's."""
        pairs = zip(self.auto.rates, base.rates, strict=True)
        samples = Samples.of(ours / theirs for ours, theirs in pairs)
        return Ratio(samples.median, *samples.interval())


@dataclass(frozen=True, slots=True)
class Report:
    """All files measured on one machine."""

    machine: dict[str, str | int]
    files: tuple[FileLengths, ...]

    def with_file(self, file: FileLengths) -> Report:
        """The report with this file measured anew, by rising acceptance."""
        others = [one for one in self.files if one.name != file.name]
        order = sorted([*others, file], key=lambda one: (one.accept is None, one.accept, one.name))
        return Report(self.machine, tuple(order))

    def save(self, path: Path) -> None:
        """Everything measured, and the ratios that it comes to."""
        files = [
            asdict(file)
            | {
                "best": file.best.draft,
                "auto_to_best": asdict(file.ratio(file.best)),
                "auto_to_plain": asdict(file.ratio(file.lengths[0])),
            }
            for file in self.files
        ]
        fields = {"schema": SCHEMA, "machine": self.machine, "files": files}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n")
        path.with_suffix(".svg").write_text(draw(self))


def load(path: Path) -> Report:
    """Raises `ValueError` for a file that is no such report."""
    try:
        fields = json.loads(path.read_text())
        if fields["schema"] != SCHEMA:
            raise ValueError("another schema")
        return Report(fields["machine"], tuple(_file(one) for one in fields["files"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no report of schema {SCHEMA}: {error}") from error


def _file(fields: dict[str, Any]) -> FileLengths:
    for derived in ("best", "auto_to_best", "auto_to_plain"):
        del fields[derived]
    lengths = tuple(Length(rates=tuple(one.pop("rates")), **one) for one in fields.pop("lengths"))
    return FileLengths(lengths=lengths, **fields)


def measure(
    path: Path, ops: CpuOps, args: argparse.Namespace, say: Callable[[str], None]
) -> FileLengths:
    """Load a file and let every length answer in turns.  Raises what loading raises."""
    loaded = load_model(path, ops, Silent())
    texts = [loaded.tokenizer.encode(prompt) for prompt in (DEMO_PROMPT, *VERIFY_PROMPTS)]
    text = texts[0]
    model = TunedModel(loaded, max(map(len, texts)) + CHAIN + args.tokens)

    def prompt_of(turn: int) -> Sequence[int]:
        if loaded.rehearsal is None:
            return texts[turn % len(texts)]
        start = text[: len(text) - turn % len(text)]  # from another token on
        return model.answer(start, 0, CHAIN).tokens

    drafts: list[Drafting] = [*range(args.max_draft + 1), AUTO]
    rates: dict[Drafting, list[float]] = {draft: [] for draft in drafts}
    stats = {draft: SpeculationStats() for draft in drafts}
    identical = True
    for draft in (0, args.max_draft, AUTO):  # uncounted: memory is touched
        model.answer(text, draft, min(16, args.tokens))
    for repeat in range(args.repeats):
        prompt = prompt_of(repeat)
        answers: set[tuple[int, ...]] = set()
        for index in range(len(drafts)):
            draft = drafts[(index + repeat) % len(drafts)]  # each has its turn to be first
            answer = model.answer(prompt, draft, args.tokens)
            rates[draft].append(answer.timings.predicted_per_second)
            stats[draft].add(answer.stats)
            answers.add(answer.tokens)
        identical = identical and len(answers) == 1
        turn = ", ".join(f"{draft}: {rates[draft][-1]:.1f}" for draft in drafts)
        say(f"{path.name} {repeat + 1}/{args.repeats}  {turn}")
    return FileLengths(
        name=path.name,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        accept=None if loaded.rehearsal is None else loaded.rehearsal.accept,
        tokens=args.tokens,
        identical=identical,
        lengths=tuple(
            Length(
                draft,
                tuple(rates[draft]),
                stats[draft].draft_n / max(1, stats[draft].rounds),
                stats[draft].tokens_per_round or 1.0,
            )
            for draft in drafts
        ),
    )


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    identical = True
    try:
        ops = CpuOps(args.threads)
        report = Report(asdict(describe_machine(ops)), ())
        if args.out.exists():
            found = load(args.out)
            if {**found.machine, "headlong": ""} != {**report.machine, "headlong": ""}:
                raise ValueError(f"{args.out} was measured on another machine; name another --out")
            report = found
        for path in args.files:
            file = measure(path, ops, args, say)
            identical = identical and file.identical
            report = report.with_file(file)
            report.save(args.out)
            print(summary(file))
    except (HeadlongError, OSError, ValueError) as error:
        say(f"error: {error}")
        return 1
    say(f"written: {args.out} and {args.out.with_suffix('.svg').name}")
    return 0 if identical else 1


def summary(file: FileLengths) -> str:
    """One line."""
    best, plain = file.ratio(file.best), file.ratio(file.lengths[0])
    return (
        f"{file.name}: auto {file.auto.median:.1f} tok/s, best fixed n = {file.best.draft} with "
        f"{file.best.median:.1f}; {best.median:.3f} x best [{best.low:.3f}, {best.high:.3f}], "
        f"{plain.median:.3f} x plain [{plain.low:.3f}, {plain.high:.3f}]"
        + ("" if file.identical else "; ANSWERS DIFFER")
    )


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("files", nargs="+", type=Path, help="GGUF files with an MTP head")
    parser.add_argument("--tokens", default=96, type=int, help="of each answer")
    parser.add_argument("--repeats", default=5, type=int, help="turns of every length")
    parser.add_argument("--max-draft", default=7, type=int, help="longest fixed length")
    parser.add_argument("--threads", default=available_cores(), type=int, help="that compute")
    parser.add_argument("--out", default=OUT, type=Path, help="JSON file; the chart lies beside it")
    args = parser.parse_args(argv)
    if args.tokens < 2 or not 1 <= args.repeats <= 50 or not 1 <= args.max_draft <= 15:
        parser.error("--tokens is 2 or more, --repeats 1 to 50, --max-draft 1 to 15")
    return args


if __name__ == "__main__":
    sys.exit(main())
