"""The record of a comparison: what was measured, where, with which file; kept as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.session import PLAIN, Answer

from headlong.tools.samples import Samples

SCHEMA = 1
FOLDER = Path(__file__).parent / "results" / "models"
HEADLONG = "headlong"


@dataclass(frozen=True, slots=True)
class Difference:
    """Where an answer left another: prompt, index of the token (or character), and both.

    None stands for the end of an answer.
    """

    prompt: str
    unit: str  # "token", or "character" where an engine tells no ids
    index: int
    expected: int | str | None
    found: int | str | None


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One engine in one mode.  Rates are tokens per second, one for each repetition."""

    engine: str
    mode: str
    draft: int | str | None
    version: str
    flags: str
    prefill: tuple[float, ...]
    decode: dict[str, tuple[float, ...]]  # by prompt
    drafted: int  # tokens, over all answers; 0 where the engine does not tell
    accepted: int
    repeatable: bool  # whether all repetitions gave the same answers
    own: Difference | None  # from the same engine's plain answers
    reference: Difference | None  # from headlong's plain answers
    disturbed: int  # turns during which the machine was not quiet

    @property
    def rates(self) -> Samples:
        """For each repetition the geometric mean over the prompts."""
        repeats = zip(*self.decode.values(), strict=True)
        return Samples.of(math.exp(math.fsum(map(math.log, r)) / len(r)) for r in repeats)

    @property
    def prefill_rates(self) -> Samples:
        return Samples(self.prefill)

    @property
    def lossless(self) -> bool:
        """Whether drafts changed nothing, as far as the answers show."""
        return self.repeatable and self.own is None


@dataclass(frozen=True, slots=True)
class TypeCount:
    """Tensors of one type in the file."""

    type: str
    tensors: int
    bytes: int


@dataclass(frozen=True, slots=True)
class File:
    """The model's file.  ``accept`` is set where its weights are made up."""

    name: str
    model: str | None
    bytes: int
    parameters: int
    step_bytes: int  # that one token moves at least
    types: tuple[TypeCount, ...]
    accept: float | None

    @property
    def synthetic(self) -> bool:
        return self.accept is not None


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked of every engine."""

    tokens: int
    prefill: int
    context: int
    threads: int
    repeats: int
    prompts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """One file on one machine, all engines."""

    when: str  # ISO 8601, UTC
    machine: dict[str, str | int]
    bandwidth: tuple[float, ...]  # GB/s of a plain read loop, one for each repetition
    file: File
    settings: Settings
    arms: tuple[ArmResult, ...]

    def engines(self) -> list[str]:
        """Headlong first, then peers in the order of their arms."""
        return sorted(dict.fromkeys(arm.engine for arm in self.arms), key=lambda e: e != HEADLONG)

    def of(self, engine: str) -> list[ArmResult]:
        return [arm for arm in self.arms if arm.engine == engine]

    def plain(self, engine: str) -> ArmResult | None:
        """Its arm without drafts, if it was measured."""
        return next((arm for arm in self.of(engine) if arm.draft == PLAIN), None)

    def best(self, engine: str) -> ArmResult:
        """Its fastest arm."""
        return max(self.of(engine), key=lambda arm: arm.rates.median)

    def share(self) -> float | None:
        """Share of the read bandwidth that headlong's plain decoding reaches."""
        plain = self.plain(HEADLONG)
        if plain is None:
            return None
        return plain.rates.median * self.file.step_bytes / 1e9 / Samples(self.bandwidth).median

    def lossless(self) -> bool:
        """Whether headlong's drafts changed nothing."""
        return all(arm.lossless for arm in self.of(HEADLONG))

    def save(self, path: Path) -> None:
        fields = {"schema": SCHEMA, **asdict(self)}
        path.write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n")


def load(path: Path) -> Report:
    """Raises `ValueError` for a file that is no such record."""
    try:
        fields = json.loads(path.read_text())
        if fields.pop("schema") != SCHEMA:
            raise ValueError("another schema")
        file, settings = fields.pop("file"), fields.pop("settings")
        arms = tuple(_arm(one) for one in fields.pop("arms"))
        types = tuple(TypeCount(**one) for one in file.pop("types"))
        return Report(
            file=File(types=types, **file),
            settings=Settings(prompts=tuple(settings.pop("prompts")), **settings),
            arms=arms,
            bandwidth=tuple(fields.pop("bandwidth")),
            **fields,
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is no record of schema {SCHEMA}: {error}") from error


def load_all(folder: Path = FOLDER) -> Iterator[tuple[Path, Report]]:
    """Every record of a folder, by name."""
    for path in sorted(folder.glob("*.json")):
        yield path, load(path)


def _arm(fields: dict[str, Any]) -> ArmResult:
    own, reference = fields.pop("own"), fields.pop("reference")
    return ArmResult(
        prefill=tuple(fields.pop("prefill")),
        decode={name: tuple(rates) for name, rates in fields.pop("decode").items()},
        own=None if own is None else Difference(**own),
        reference=None if reference is None else Difference(**reference),
        **fields,
    )


def compare(prompt: str, expected: Answer, found: Answer) -> Difference | None:
    """The first difference, by ids where both tell them, else by characters."""
    if expected.tokens is not None and found.tokens is not None:
        return _first(prompt, "token", expected.tokens, found.tokens)
    return _first(prompt, "character", expected.text, found.text)


def _first(
    prompt: str, unit: str, expected: Sequence[int | str], found: Sequence[int | str]
) -> Difference | None:
    if expected == found:
        return None
    pairs = zip(expected, found, strict=False)
    shorter = min(len(expected), len(found))
    index = next((i for i, (one, other) in enumerate(pairs) if one != other), shorter)
    return Difference(
        prompt,
        unit,
        index,
        expected[index] if index < len(expected) else None,
        found[index] if index < len(found) else None,
    )
