"""One running request, as the engine sees it: tokens, state, statistics.  No text."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from headlong.cache.pages import Lease
from headlong.engine.grammar import GrammarState
from headlong.errors import HeadlongError
from headlong.ops.batch import FloatArray, IntArray
from headlong.sampling import Sampler, SamplingParams, TokenHistory, TokenLogprob
from headlong.speculation import Acceptance, SpeculationStats
from headlong.speculation.drafter import DraftTrack


class FinishReason(StrEnum):
    """Why a sequence ended, in the words of the OpenAI API."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(slots=True)
class Timing:
    """Seconds of one request, on the clock of `time.perf_counter`."""

    submitted: float
    prefill_began: float = 0.0
    first_token: float = 0.0
    last_token: float = 0.0


@dataclass(slots=True)
class Sequence:
    """Mutable state of one request.

    ``tokens`` holds the prompt and everything generated.  ``computed`` positions have passed
    through the trunk and were kept; of these the newest ``fold`` still wait to be folded into the
    recurrent state.  While decoding, ``computed == len(tokens) - 1``.  The first ``cached`` were
    computed for earlier requests.  ``anchor`` ``[hidden]`` is the trunk's row of the last position
    that is in the recurrent state; prompt chunks end at ``marks``.  ``error`` says why a sequence
    failed, where ``finish`` says that it did.  ``logprobs`` are those of the generated tokens, or
    of more, where they are asked for.
    """

    id: int
    tokens: list[int]
    prompt: IntArray
    params: SamplingParams
    limit: int
    seed: int
    sampler: Sampler
    history: TokenHistory
    acceptance: Acceptance
    timing: Timing
    grammar: GrammarState | None = None
    lease: Lease | None = None
    computed: int = 0
    fold: int = 0
    cached: int = 0
    marks: tuple[int, ...] = ()
    anchor: FloatArray | None = None
    finish: FinishReason | None = None
    error: HeadlongError | None = None
    track: DraftTrack = field(default_factory=DraftTrack)
    stats: SpeculationStats = field(default_factory=SpeculationStats)
    logprobs: list[TokenLogprob] = field(default_factory=list)

    @property
    def prompt_length(self) -> int:
        """Tokens of the prompt."""
        return self.prompt.size

    @property
    def to_read(self) -> int:
        """Prompt rows that are still to be read."""
        return self.prompt_length - self.computed

    @property
    def chunk_end(self) -> int:
        """Where the next prompt chunk ends at the latest."""
        ahead = (mark for mark in self.marks if mark > self.computed)
        return next(ahead, self.prompt_length)

    @property
    def prefilling(self) -> bool:
        """Whether prompt rows are still to be read."""
        return self.computed < self.prompt_length

    @property
    def generated(self) -> int:
        """Tokens generated so far."""
        return len(self.tokens) - self.prompt_length

    @property
    def matched(self) -> bool:
        """Whether the grammar lets nothing follow the tokens so far."""
        grammar = self.grammar
        return grammar is not None and grammar.complete and len(grammar) == self.generated

    @property
    def room(self) -> int:
        """Tokens that may still be generated; ``limit`` caps prompt and output together."""
        return self.limit - len(self.tokens)
