"""Whole models side by side: Headlong and its peers, in turns, on one file.

Every turn loads one engine in one mode, warms it up, times a prompt, and times greedy answers of a
fixed length to the same token ids.  All modes have their turn before any has its next: A B A B.
Beside every speed stands whether the tokens were the same: those of a mode with drafts as those of
the same engine without, and those of a peer as those of Headlong.

    python -m benchmarks.models model.gguf
    python -m benchmarks.models model.gguf --headlong 0 3 auto --llama 0 2 --repeats 5
    python -m benchmarks.models model.gguf --peer 'ik:n = 2=/path/to/llama-server -m {model} \\
        --port {port} -t {threads} -c {context} --spec-type mtp:n_max=2'
    python -m benchmarks.models --short

Writes results/NAME.json and a chart beside it, and prints a table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path

from benchmarks.chart import draw
from benchmarks.headlong_arm import headlong_arm
from benchmarks.noise import CpuTimes, Noise, busy_now
from benchmarks.peers import Command, has_wheel, llama_arm
from benchmarks.record import (
    FOLDER,
    HEADLONG,
    ArmResult,
    Difference,
    File,
    Report,
    Settings,
    TypeCount,
    compare,
)
from benchmarks.session import AUTO, PLAIN, Answer, Arm, PeerError, Setup
from benchmarks.table import markdown

from headlong.errors import HeadlongError
from headlong.gguf import open_gguf
from headlong.ops.cpu import CpuOps, available_cores
from headlong.tokenizer import Tokenizer, Vocabulary
from headlong.tools.demo import bundled_model
from headlong.tools.inspect import MtpState, describe
from headlong.tools.machine import describe_machine
from headlong.tools.prompts import VERIFY_PROMPTS

PROMPTS = dict(
    zip(("code", "prose", "list", "data", "languages", "question"), VERIFY_PROMPTS, strict=True)
)
WARM_UP_PROMPT, WARM_UP_TOKENS = 64, 8
BANDWIDTH_BYTES, SWEEPS = 256 << 20, 5


@dataclass(slots=True)
class Turns:
    """What the turns of one arm gave."""

    arm: Arm
    prefill: list[float] = field(default_factory=list)
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    noise: list[Noise] = field(default_factory=list)

    def first(self) -> dict[str, Answer]:
        """Its first answers, by prompt."""
        return {name: answers[0] for name, answers in self.answers.items()}


def take_turn(
    turns: Turns, setup: Setup, prompts: dict[str, list[int]], settings: Settings, repeat: int
) -> None:
    """Load, warm up, time the prompt, time the answers."""
    longest = max(prompts.values(), key=len)
    # Another beginning every time: no engine has seen any of it.
    prompt = list(islice(cycle(longest), repeat, repeat + settings.prefill))
    busy, before = busy_now(), CpuTimes.now()
    with turns.arm.open(setup) as session:
        session.generate(prompt[-min(WARM_UP_PROMPT, settings.prefill) :], WARM_UP_TOKENS)
        # Two tokens, so that an engine cannot leave out what decoding needs of the prompt.
        read = session.generate(prompt, 2)
        turns.prefill.append(settings.prefill / read.first_seconds)
        for name, ids in prompts.items():
            answer = session.generate(ids, settings.tokens)
            turns.answers.setdefault(name, []).append(answer)
    after = CpuTimes.now()
    stolen = after.since(before)[1] if before and after else 0.0
    turns.noise.append(Noise(busy, stolen))


def conclude(turns: Sequence[Turns]) -> tuple[ArmResult, ...]:
    """Rates, and what differed from what."""
    plains = {t.arm.engine: t.first() for t in reversed(turns) if t.arm.draft == PLAIN}
    reference = plains.get(HEADLONG)

    def difference(answers: dict[str, Answer], base: dict[str, Answer] | None) -> Difference | None:
        found = [compare(p, base[p], answers[p]) for p in answers] if base else []
        return next((one for one in found if one is not None), None)

    concluded = []
    for one in turns:
        answers, arm = one.first(), one.arm
        every = [answer for made in one.answers.values() for answer in made]
        concluded.append(
            ArmResult(
                engine=arm.engine,
                mode=arm.mode,
                draft=arm.draft,
                version=arm.version,
                flags=arm.flags,
                prefill=tuple(one.prefill),
                decode={p: tuple(a.per_second for a in made) for p, made in one.answers.items()},
                drafted=sum(answer.drafted for answer in every),
                accepted=sum(answer.accepted for answer in every),
                repeatable=all(
                    compare(p, answers[p], other) is None
                    for p, made in one.answers.items()
                    for other in made
                ),
                own=difference(answers, plains.get(arm.engine)),
                reference=difference(answers, reference),
                disturbed=sum(noise.disturbed for noise in one.noise),
            )
        )
    return tuple(concluded)


def run(
    setup: Setup,
    arms: Sequence[Arm],
    prompts: dict[str, list[int]],
    settings: Settings,
    say: Callable[[str], None],
) -> Report:
    """Take all turns.  Raises `PeerError` or `HeadlongError` where an engine fails."""
    ops = CpuOps(setup.threads)
    turns = [Turns(arm) for arm in arms]
    bandwidth = []
    for repeat in range(settings.repeats):
        bandwidth.append(ops.read_bandwidth(BANDWIDTH_BYTES, SWEEPS))
        for one in turns:
            take_turn(one, setup, prompts, settings, repeat)
            rates = ", ".join(f"{made[-1].per_second:.1f}" for made in one.answers.values())
            say(
                f"{repeat + 1}/{settings.repeats}  {one.arm.engine} {one.arm.mode}: {rates} tok/s; "
                f"prompt {one.prefill[-1]:.1f}"
                + ("; the machine was not quiet" if one.noise[-1].disturbed else "")
            )
    return Report(
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=asdict(describe_machine(ops)),
        bandwidth=tuple(bandwidth),
        file=about(setup.model, settings),
        settings=settings,
        arms=conclude(turns),
    )


def about(path: Path, settings: Settings) -> File:
    """The file, and what one of its tokens moves half-way through an answer."""
    described = describe(path, max(1, settings.tokens // 2))
    assert described.step is not None  # it was run
    return File(
        name=path.name,
        model=described.name,
        bytes=described.size,
        parameters=described.parameters,
        step_bytes=described.step.total,
        types=tuple(TypeCount(t.type, t.tensors, t.bytes) for t in described.types),
        accept=None if described.rehearsal is None else described.rehearsal.accept,
    )


def encode(path: Path, names: Sequence[str]) -> dict[str, list[int]]:
    """Token ids of the built-in prompts of these names."""
    with open_gguf(path) as file:
        tokenizer = Tokenizer(Vocabulary.from_metadata(file.metadata))
    return {name: tokenizer.encode(PROMPTS[name]) for name in names}


def choose_arms(args: argparse.Namespace, say: Callable[[str], None]) -> list[Arm]:
    """Arms in their order; drafts are left out, aloud, where the file has no head."""
    has_head = describe(args.file, 1).mtp.state is MtpState.PRESENT
    if not has_head:
        say(f"{args.file.name} has no MTP head: only modes without drafts are compared")
    arms = [headlong_arm(draft) for draft in args.headlong if has_head or draft == PLAIN]
    llama = [draft for draft in args.llama if has_head or draft == PLAIN]
    if llama and not has_wheel():
        say("llama.cpp is left out: its wheel is not installed (pip install xllamacpp)")
        llama = []
    for draft in llama:
        arms += [llama_arm(draft, p) for p in (args.llama_p_min if draft else [0.0])]
    return arms + [command.arm() for command in args.peer]


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        with ExitStack() as stack:
            args.file = args.file or stack.enter_context(bundled_model())
            prompts = encode(args.file, args.prompts)
            longest = max(len(ids) for ids in prompts.values())
            context = max(longest + args.tokens, args.prefill + WARM_UP_TOKENS) + 64
            settings = Settings(
                tokens=args.tokens,
                prefill=args.prefill,
                context=context,
                threads=args.threads,
                repeats=args.repeats,
                prompts=tuple(args.prompts),
            )
            setup = Setup(args.file, context, args.threads)
            report = run(setup, choose_arms(args, say), prompts, settings, say)
    except (HeadlongError, PeerError, OSError) as error:
        say(f"error: {error}")
        return 1
    print(markdown(report))
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        path = args.out / f"{args.name or args.file.stem}.json"
        report.save(path)
        path.with_suffix(".svg").write_text(draw(report))
        say(f"written: {path} and {path.with_suffix('.svg').name}")
    return 0 if report.lossless() else 1


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Flags.  The short form measures the bundled model and writes nothing unless told."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )

    def add(flag: str, default: object, text: str, **more: object) -> None:
        parser.add_argument(flag, default=default, help=text, **more)  # type: ignore[arg-type]

    parser.add_argument("file", nargs="?", type=Path, help="GGUF file; without: the bundled model")
    add("--headlong", None, "draft lengths of Headlong, 0 to 15 or auto", nargs="+", type=_draft)
    add("--llama", None, "draft lengths of llama.cpp's wheel; none", nargs="*", type=_length)
    add("--llama-p-min", [0.0], "confidences below which it stops", nargs="+", type=float)
    add("--peer", [], "NAME=COMMAND or ENGINE:MODE=COMMAND", action="append", type=_peer)
    add("--prompts", None, "kinds of text", nargs="+", choices=tuple(PROMPTS))
    add("--tokens", None, "tokens of every answer", type=_count)
    add("--prefill", None, "tokens of the prompt that is timed", type=_count)
    add("--repeats", None, "turns of every mode", type=_count)
    add("--threads", available_cores(), "threads of every engine", type=_count)
    add("--out", None, "folder for JSON and chart; the long form has one", type=Path)
    add("--name", None, "name of the files written; without: the model's")
    add("--short", False, "few modes, one prompt, short answers", action="store_true")
    args = parser.parse_args(argv)
    short, long = (
        {"headlong": [0, AUTO], "llama": [0, 1], "prompts": ["code"], "tokens": 64,
         "prefill": 256, "repeats": 3, "out": None},
        {"headlong": [0, 1, 2, 3, 4, AUTO], "llama": [0, 1, 2, 3],
         "prompts": ["code", "prose", "question"], "tokens": 128, "prefill": 512, "repeats": 3,
         "out": FOLDER},
    )  # fmt: skip
    for name, value in (short if args.short else long).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.tokens < 2 or PLAIN not in args.headlong:
        parser.error("--tokens must be 2 or more, and --headlong must include 0, the reference")
    return args


def _draft(text: str) -> int | str:
    return text if text == AUTO else _length(text)


def _length(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 15:
        raise argparse.ArgumentTypeError(f"a draft length is 0 to 15, not {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"at least 1, not {text}")
    return value


def _peer(text: str) -> Command:
    try:
        return Command.parse(text)
    except (PeerError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
