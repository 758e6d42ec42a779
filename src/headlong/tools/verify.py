"""Check on real weights that speculation does not change the text.

A set of answers is made with speculation off, one request at a time: the reference.  It is made
again in the same way (a machine that does not repeat itself can prove nothing), then in batches,
then with drafts of every wanted length, alone and in batches.  Tokens must be the same throughout.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from headlong.engine.requests import Completion
from headlong.errors import ParameterError, UnsupportedError
from headlong.llm import LLM
from headlong.progress import Progress
from headlong.sampling import MAX_DRAFT, SamplingParams
from headlong.speculation import SpeculationStats
from headlong.tools.inspect import MtpState, describe
from headlong.tools.prompts import VERIFY_PROMPTS

__all__ = [
    "AUTO",
    "OFF",
    "Case",
    "Difference",
    "LoadModel",
    "Outcome",
    "Picked",
    "Plan",
    "Variant",
    "make_cases",
    "require_head",
    "verify",
]

AUTO: Final = "auto"
OFF: Final = 0

DraftLength = int | str
"""0 (`OFF`), a number of drafts per round, or `AUTO`."""

LoadModel = Callable[[str, DraftLength], LLM]
"""Loads the model with a ``spec_type`` and a ``draft_n_max``."""

# Every second prompt is answered with these, for penalties look at tokens that a rejected draft
# must not leave behind.
_PENALTIES: Final = SamplingParams(repeat_penalty=1.1, presence_penalty=0.3, frequency_penalty=0.1)


@dataclass(frozen=True, slots=True)
class Case:
    """A prompt and how it is answered; ``number`` counts the prompts from 1."""

    number: int
    prompt: str
    params: SamplingParams


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to make the same answers: draft length, and whether all requests run together."""

    draft: DraftLength
    batched: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compared: the answers, and the draft lengths besides `OFF`."""

    cases: tuple[Case, ...]
    drafts: tuple[DraftLength, ...]

    def __post_init__(self) -> None:
        """Raises `ParameterError` for a draft length that no round could have, or no drafts."""
        for draft in self.drafts:
            if draft != AUTO and (isinstance(draft, str) or not 1 <= draft <= MAX_DRAFT):
                raise ParameterError(
                    f"a draft length is {draft!r}; it must be {AUTO!r} or a whole number from 1 "
                    f"to {MAX_DRAFT}"
                )
        if not self.drafts or not self.cases:
            raise ParameterError("nothing to compare; give at least one prompt and draft length")

    @property
    def variants(self) -> tuple[Variant, ...]:
        """In the order in which they run; the first repeats the reference."""
        every = (OFF, *self.drafts)
        return tuple(Variant(draft, batched) for draft in every for batched in (False, True))


@dataclass(frozen=True, slots=True)
class Picked:
    """A token and its text; ``None`` where the answer had ended."""

    token: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Difference:
    """Where an answer left the reference: at its ``index``-th token, counted from 0.

    ``margin`` is the logit of the expected token minus that of the one found, before penalties and
    temperature, computed over the common text in one pass; None where one answer had ended.
    """

    case: Case
    index: int
    expected: Picked
    found: Picked
    margin: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one variant compared: answers that differed, and the first difference."""

    variant: Variant
    answers: int
    differing: int
    first: Difference | None
    stats: SpeculationStats


def make_cases(
    prompts: Sequence[str] = VERIFY_PROMPTS,
    *,
    temperatures: Sequence[float] = (0.0, 0.7, 1.5),
    max_tokens: int = 64,
    seed: int = 1,
) -> tuple[Case, ...]:
    """Every prompt at every temperature, each with a seed of its own, every second penalised.

    Raises `ParameterError` for a temperature, number or seed that sampling refuses.
    """
    cases: list[Case] = []
    for number, prompt in enumerate(prompts, start=1):
        base = _PENALTIES if number % 2 == 0 else SamplingParams()
        for temperature in temperatures:
            params = replace(
                base, max_tokens=max_tokens, temperature=temperature, seed=seed + len(cases)
            )
            cases.append(Case(number, prompt, params))
    return tuple(cases)


def require_head(path: Path) -> None:
    """Raises `UnsupportedError` unless the file has an MTP head, `GGUFError` if it is no file."""
    head = describe(path, 1).mtp
    if head.state is not MtpState.PRESENT:
        raise UnsupportedError(
            f"{path}: no MTP head to verify (it is {head.state.value}); "
            "'headlong inspect' shows what the file holds."
        )


def verify(load: LoadModel, plan: Plan, progress: Progress) -> Iterator[Outcome]:
    """Make the answers in every variant and compare; outcomes come as soon as they are known.

    The model is loaded anew for drafts off, fixed and chosen, one after another, so that the
    reference has nothing of the head in memory.
    """
    reference: list[Completion] = []
    for group in _groups(plan):
        llm = load(*_setting(group))
        if not reference:
            reference = _answer(llm, plan, Variant(OFF, batched=False), progress)
        for variant in group:
            answers = _answer(llm, plan, variant, progress)
            yield _compare(llm, plan, variant, reference, answers)
        del llm
        gc.collect()  # before the next one is loaded: two at once may not fit


def _groups(plan: Plan) -> list[list[Variant]]:
    """Variants that one loaded model can run: off, fixed lengths, chosen lengths."""
    variants = plan.variants
    off = [v for v in variants if v.draft == OFF]
    chosen = [v for v in variants if v.draft == AUTO]
    fixed = [v for v in variants if v not in off and v not in chosen]
    return [group for group in (off, fixed, chosen) if group]


def _setting(group: Sequence[Variant]) -> tuple[str, DraftLength]:
    """How to load for a group; within fixed lengths each request asks for less than the most."""
    lengths = [v.draft for v in group if isinstance(v.draft, int)]
    if not lengths:
        return "draft-mtp", AUTO
    return ("none", OFF) if lengths[0] == OFF else ("draft-mtp", max(lengths))


def _answer(llm: LLM, plan: Plan, variant: Variant, progress: Progress) -> list[Completion]:
    cap = variant.draft if isinstance(variant.draft, int) else None
    prompts = [case.prompt for case in plan.cases]
    params = [replace(case.params, draft_n_max=cap) for case in plan.cases]
    with progress.stage(_name(variant), len(prompts), "answers") as stage:
        if variant.batched:
            answers = llm.batch(prompts, params)
            stage.advance(len(answers))
            return answers
        answers = []
        for prompt, own in zip(prompts, params, strict=True):
            answers.append(llm.generate(prompt, own))
            stage.advance(1)
        return answers


def _name(variant: Variant) -> str:
    drafts = "speculation off" if variant.draft == OFF else f"drafts: {variant.draft}"
    return f"{drafts}, {'batched' if variant.batched else 'alone'}"


def _compare(
    llm: LLM,
    plan: Plan,
    variant: Variant,
    reference: Sequence[Completion],
    answers: Sequence[Completion],
) -> Outcome:
    stats = SpeculationStats()
    first: Difference | None = None
    differing = 0
    for case, expected, found in zip(plan.cases, reference, answers, strict=True):
        stats.add(found.stats)
        if expected.tokens == found.tokens and expected.text == found.text:
            continue
        differing += 1
        if first is None:
            first = _difference(llm, case, expected, found)
    return Outcome(variant, len(answers), differing, first, stats)


def _difference(llm: LLM, case: Case, expected: Completion, found: Completion) -> Difference:
    pairs = zip(expected.tokens, found.tokens, strict=False)
    shorter = min(len(expected.tokens), len(found.tokens))
    index = next((i for i, (a, b) in enumerate(pairs) if a != b), shorter)
    here, there = _picked(llm, expected, index), _picked(llm, found, index)
    margin = None
    if here.token is not None and there.token is not None:
        logits = llm.logits([*expected.prompt_tokens, *expected.tokens[:index]])
        margin = float(logits[here.token]) - float(logits[there.token])
    return Difference(case, index, here, there, margin)


def _picked(llm: LLM, completion: Completion, index: int) -> Picked:
    if index >= len(completion.tokens):
        return Picked(None, "")
    token = completion.tokens[index]
    return Picked(token, llm.tokenizer.decode([token], special=True))
