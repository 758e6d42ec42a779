"""Many answers at once, with drafts and without: drafting must never cost throughput.

The same prompts are answered together by 1, 2, 4, 8, 16 sequences, with the draft length chosen by
the engine and with none, in turns (A B B A) in one process with one copy of the weights.

    python -m benchmarks.streams model.gguf

Writes results/streams-NAME.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from headlong import LLM, Completion, SamplingParams
from headlong.errors import HeadlongError
from headlong.ops.cpu import CpuOps
from headlong.tools.machine import describe_machine
from headlong.tools.prompts import DEMO_PROMPT, VERIFY_PROMPTS
from headlong.tools.samples import Samples

SCHEMA = 1
RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True, slots=True)
class Streams:
    """So many answers at once: tokens per second of all together, turn by turn."""

    streams: int
    plain: tuple[float, ...]
    auto: tuple[float, ...]
    tokens_per_round: float
    drafted_per_round: float
    identical: bool

    @property
    def gain(self) -> Samples:
        """Throughput with drafts as a multiple of that without, one sample per turn."""
        return Samples.of(a / p for a, p in zip(self.auto, self.plain, strict=True))


def prompts_for(llm: LLM, count: int) -> list[list[int]]:
    """Different prompts; of a rehearsal model, places of its own text."""
    texts = [llm.tokenizer.encode(text) for text in (DEMO_PROMPT, *VERIFY_PROMPTS)]
    if llm.rehearsal is None:
        return list(itertools.islice(itertools.cycle(texts), count))
    start = texts[0]
    cuts = [start[: max(1, len(start) - i)] for i in range(count)]
    answers = llm.batch(cuts, SamplingParams(max_tokens=16, temperature=0, ignore_eos=True))
    return [list(answer.tokens) for answer in answers]


def answer(
    llm: LLM, prompts: Sequence[Sequence[int]], tokens: int, draft: int | None
) -> tuple[float, list[Completion]]:
    """Tokens per second of all answers together, prompts included."""
    params = SamplingParams(max_tokens=tokens, temperature=0, ignore_eos=True, draft_n_max=draft)
    began = time.perf_counter()
    answers = llm.batch(prompts, params)
    return len(prompts) * tokens / (time.perf_counter() - began), answers


def measure(llm: LLM, streams: int, tokens: int, repeats: int) -> Streams:
    """Turns of plain and auto, each first in every other one, after one that is not counted."""
    prompts = prompts_for(llm, streams)
    rates: dict[int | None, list[float]] = {0: [], None: []}
    rounds = generated = drafted = 0
    identical = True
    for turn in range(-1, repeats):
        answers: dict[int | None, list[Completion]] = {}
        for draft in (0, None) if turn % 2 else (None, 0):
            rate, answers[draft] = answer(llm, prompts, tokens, draft)
            if turn >= 0:
                rates[draft].append(rate)
        identical &= [a.tokens for a in answers[0]] == [a.tokens for a in answers[None]]
        if turn >= 0:
            rounds += sum(a.stats.rounds for a in answers[None])
            drafted += sum(a.stats.draft_n for a in answers[None])
            generated += sum(len(a.tokens) - 1 for a in answers[None])  # the first: the prompt's
    return Streams(
        streams,
        tuple(rates[0]),
        tuple(rates[None]),
        generated / max(1, rounds),
        drafted / max(1, rounds),
        identical,
    )


def line(one: Streams) -> str:
    gain = one.gain
    low, high = gain.interval()
    return (
        f"{one.streams:7} {Samples(one.plain).median:8.1f} {Samples(one.auto).median:8.1f} "
        f"{gain.median:6.2f} x ({low:.2f} to {high:.2f}) {one.drafted_per_round:8.2f} "
        f"{one.tokens_per_round:8.2f}  {'yes' if one.identical else 'NO'}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--tokens", type=int, default=48, help="of each answer (48)")
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, help="default: results/streams-NAME.json")
    args = parser.parse_args(argv)
    try:
        llm = LLM(args.model, context=512, sequences=max(args.streams), threads=args.threads)
        print("streams    plain     auto   gain               drafted  tokens  same", flush=True)
        measured = []
        for streams in args.streams:
            measured.append(measure(llm, streams, args.tokens, args.repeats))
            print(line(measured[-1]), flush=True)
    except HeadlongError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    out = args.out or RESULTS / f"streams-{args.model.stem}.json"
    fields = {
        "schema": SCHEMA,
        "file": args.model.name,
        "tokens": args.tokens,
        "machine": asdict(describe_machine(CpuOps(args.threads))),
        "streams": [asdict(one) for one in measured],
    }
    out.write_text(json.dumps(fields, indent=1) + "\n")
    return 0 if all(one.identical for one in measured) else 1


if __name__ == "__main__":
    sys.exit(main())
