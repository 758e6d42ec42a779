"""The bundled model answers one prompt plainly and with multi-token prediction, fairly timed.

Two loaded models give the fairest picture, for the plain one then has no head in memory; of a model
that is too large for that, the plain side runs with drafts off.  A first pair of answers warms up
and may be watched; the pairs that count follow in turns, unwatched, and their medians are compared:
a machine that gets slower or faster meanwhile changes both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from statistics import median
from typing import Final

from headlong.engine.requests import Chunk, Completion
from headlong.errors import ModelError, ParameterError
from headlong.llm import LLM
from headlong.progress import Progress
from headlong.sampling import SamplingParams
from headlong.speculation import SpeculationStats

__all__ = ["Comparison", "Pair", "Watch", "answer_both", "bundled_model", "measure"]

_BUNDLED: Final = "headlong-tiny-Q8_0.gguf"

Watch = Callable[[bool, Chunk], None]
"""Called for every chunk of an answer; the flag tells whether drafts are on."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The same prompt answered on both sides."""

    plain: Completion
    drafted: Completion


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the counted pairs of answers gave.

    Rates are medians, in tokens per second after the first token; 0 if answers were too short.
    ``stats`` sums speculation over the counted answers with drafts.
    """

    identical: bool
    plain_per_second: float
    drafted_per_second: float
    stats: SpeculationStats

    @property
    def speedup(self) -> float | None:
        """How many times as fast the answers with drafts were; None if not measured."""
        if not self.plain_per_second or not self.drafted_per_second:
            return None
        return self.drafted_per_second / self.plain_per_second


@contextmanager
def bundled_model() -> Iterator[Path]:
    """Path of the model that comes with the package.  Raises `ModelError` if it does not."""
    resource = resources.files("headlong") / "bundled" / _BUNDLED
    if not resource.is_file():
        raise ModelError(
            f"this installation lacks the bundled model ({_BUNDLED}); install Headlong again, or "
            "name a GGUF file that has an MTP head."
        )
    with resources.as_file(resource) as path:
        yield path


def answer_both(
    plain: LLM, drafted: LLM, prompt: str, params: SamplingParams, watch: Watch
) -> Pair:
    """Answer once on either side, watched; this warms up what `measure` times.

    ``plain`` and ``drafted`` may be the same model; the plain side never drafts.

    Raises `ParameterError` if `params` have no seed.
    """
    if params.seed is None:
        raise ParameterError("both sides need the same seed; give one")
    return Pair(
        _answer(plain, prompt, _plainly(params), watch, drafts=False),
        _answer(drafted, prompt, params, watch, drafts=True),
    )


def measure(
    plain: LLM,
    drafted: LLM,
    prompt: str,
    params: SamplingParams,
    warm_up: Pair,
    *,
    pairs: int,
    progress: Progress,
) -> Comparison:
    """Answer ``pairs`` times on either side, in turns, and compare.

    ``identical`` takes in every answer, the warm-up's too.  Raises `ParameterError` without pairs.
    """
    if pairs < 1:
        raise ParameterError(f"pairs is {pairs}; at least one is needed to compare")
    reference = warm_up.plain
    identical = _same(reference, warm_up.drafted)
    stats = SpeculationStats()
    plain_rates, drafted_rates = [], []
    with progress.stage("measuring", pairs, "pairs") as stage:
        for _ in range(pairs):
            one = plain.generate(prompt, _plainly(params))
            other = drafted.generate(prompt, params)
            identical = identical and _same(reference, one) and _same(reference, other)
            plain_rates.append(one.timings.predicted_per_second)
            drafted_rates.append(other.timings.predicted_per_second)
            stats.add(other.stats)
            stage.advance(1)
    return Comparison(identical, median(plain_rates), median(drafted_rates), stats)


def _answer(
    llm: LLM, prompt: str, params: SamplingParams, watch: Watch, *, drafts: bool
) -> Completion:
    completion = None
    for chunk in llm.stream(prompt, params):
        watch(drafts, chunk)
        completion = chunk.completion
    assert completion is not None  # the last chunk carries it
    return completion


def _plainly(params: SamplingParams) -> SamplingParams:
    return replace(params, draft_n_max=0)


def _same(one: Completion, other: Completion) -> bool:
    return one.tokens == other.tokens and one.text == other.text
