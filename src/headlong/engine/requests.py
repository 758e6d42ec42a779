"""Requests in text on top of the engine: submit, pump, collect.

Several requests may be consumed in any order; whichever asks for more runs a step for all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from typing import Generic

from headlong.engine.engine import Engine
from headlong.engine.grammar import GrammarCompiler
from headlong.engine.sequence import FinishReason, Sequence
from headlong.engine.text import TextStream
from headlong.errors import HeadlongError
from headlong.ops.protocol import W
from headlong.sampling import SamplingParams, TokenLogprob
from headlong.speculation import SpeculationStats
from headlong.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Timings:
    """Where a request's time went: tokens and seconds of its prompt and of its answer.

    ``prompt`` counts the tokens that were read, ``cached`` those before them that earlier requests
    had read.  ``predicted_seconds`` runs from the first token to the last, so
    ``predicted_per_second`` counts one token less than ``predicted``.
    """

    prompt: int
    prompt_seconds: float
    predicted: int
    predicted_seconds: float
    cached: int = 0

    @property
    def prompt_per_second(self) -> float:
        """Prompt tokens read per second; 0 before the first token."""
        return self.prompt / self.prompt_seconds if self.prompt_seconds > 0 else 0.0

    @property
    def predicted_per_second(self) -> float:
        """Tokens per second after the first; 0 with fewer than two tokens."""
        if self.predicted < 2 or self.predicted_seconds <= 0:
            return 0.0
        return (self.predicted - 1) / self.predicted_seconds


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished answer.

    ``tokens`` includes the token that ended it; ``logprobs`` has one entry for each of them where
    they were asked for, else none.  ``stop`` is the stop string that ended the answer, if any;
    ``seed`` repeats it.  ``stats`` count whole rounds, also where a stop string cut the last one.
    """

    text: str
    tokens: tuple[int, ...]
    prompt_tokens: tuple[int, ...]
    finish_reason: str
    stop: str | None
    seed: int
    stats: SpeculationStats
    timings: Timings
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an answer, as one round produced it.

    ``accepted`` of the ``tokens`` came from accepted drafts; ``logprobs`` has one entry for each
    token where they were asked for, else none.  While the prompt is read, chunks
    carry no text and ``prompt_done`` grows.  The last chunk has the ``completion``.
    """

    text: str
    tokens: tuple[int, ...]
    accepted: int
    prompt_done: int
    completion: Completion | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(slots=True)
class Request:
    """One submitted prompt and what has come of it: in the end a completion or an error."""

    sequence: Sequence
    stream: TextStream
    per_token: bool = False
    text: list[str] = field(default_factory=list)
    kept: int = 0
    chunks: deque[Chunk] = field(default_factory=deque)
    completion: Completion | None = None
    error: HeadlongError | None = None


class Requests(Generic[W]):
    """Runs requests to completion.  Not safe to use from several threads."""

    def __init__(
        self, engine: Engine[W], tokenizer: Tokenizer, grammars: GrammarCompiler | None = None
    ) -> None:
        """Without ``grammars``, a compiler of its own."""
        self._engine = engine
        self._tokenizer = tokenizer
        self._grammars = grammars or GrammarCompiler(tokenizer, engine.vocab)
        self._active: dict[int, Request] = {}
        self._pumping = False
        self._leaving: list[Sequence] = []

    def submit(
        self,
        prompt: SequenceOf[int],
        params: SamplingParams,
        *,
        special: bool = False,
        per_token: bool = False,
    ) -> Request:
        """Queue token ids; ``special`` writes control tokens out in the text.

        ``per_token`` makes a chunk for every token instead of one for every round.  A grammar is
        compiled here, which can take long, unless it is known (`LLM.check_grammar`).
        """
        stream = TextStream(self._tokenizer, params.stop, special=special)
        grammar = None if params.grammar is None else self._grammars.start(params.grammar)
        request = Request(self._engine.submit(prompt, params, grammar), stream, per_token)
        self._active[request.sequence.id] = request
        return request

    def check(self, prompt: SequenceOf[int], params: SamplingParams) -> None:
        """Raise what `submit` would, without queueing anything; safe from any thread.

        All but what is wrong with a grammar: compiling it can take too long for a quick look.
        """
        self._engine.check(prompt, params)

    def chunks(self, request: Request) -> Generator[Chunk, None, None]:
        """Run until the request ends, yielding what it gains; closing early cancels it.

        Raises the request's error after its last chunk.
        """
        chunks = self._chunks(request)
        next(chunks)  # closing a generator that was never started would cancel nothing
        return chunks

    def _chunks(self, request: Request) -> Generator[Chunk, None, None]:
        try:
            yield Chunk("", (), 0, 0)  # for `chunks`
            while request.completion is None or request.chunks:
                while request.chunks:
                    yield request.chunks.popleft()
                if request.completion is None:
                    self._pump(request)
        finally:
            self.cancel(request)

    def finish(self, requests: Iterable[Request]) -> list[Completion]:
        """Run until all of these have ended; they may be submitted while they are taken.

        Raises the first error, of a request or of submitting one, and cancels the others.
        """
        taken: list[Request] = []
        try:
            for request in requests:
                taken.append(request)
            for request in taken:
                while request.completion is None:
                    self._pump(request)
        finally:
            for request in taken:
                self.cancel(request)
        return [r.completion for r in taken if r.completion is not None]

    def cancel(self, request: Request) -> None:
        """End a request that is still running; harmless for one that is not."""
        if self._active.pop(request.sequence.id, None) is None:
            return
        if self._pumping:  # an iterator that the garbage collector closed in the middle of a step
            self._leaving.append(request.sequence)
        else:
            self._engine.cancel(request.sequence)

    @property
    def busy(self) -> bool:
        """Whether `step` has anything to do."""
        return self._engine.busy

    def _pump(self, wanted: Request) -> None:
        """Run one step for everybody.  Raises the error of the wanted request if it has failed."""
        if wanted.error is not None:
            raise wanted.error
        assert self._engine.busy, "an unfinished request is in the engine"
        self.step()

    def step(self) -> None:
        """Run one step for everybody: what requests gain is in their chunks.

        One that ends has its completion or its error.  An exception, which none should cause, ends
        them all with an error before it goes on.
        """
        self._pumping = True
        try:
            for emission in self._engine.step():
                request = self._active.get(emission.sequence.id)
                if request is not None:
                    self._take(request, emission.tokens, emission.accepted)
        except BaseException as error:
            self._abandon(error)
            raise
        finally:
            self._pumping = False
            while self._leaving:
                self._engine.cancel(self._leaving.pop())

    def _abandon(self, cause: BaseException) -> None:
        """A step broke off, perhaps between any two lines: no request is sure to be whole."""
        self._engine.reset()
        for request in self._active.values():
            request.error = HeadlongError(
                f"the request ended when a step broke off ({cause!r}); submit it again."
            )
        self._active.clear()

    def _take(self, request: Request, tokens: tuple[int, ...], accepted: int) -> None:
        if request.per_token:
            for place, token in enumerate(tokens[:-1]):
                self._add(request, (token,), int(place < accepted), last=False)
                if request.completion is not None:
                    return
            tokens, accepted = tokens[-1:], int(0 < len(tokens) <= accepted)
        self._add(request, tokens, accepted, last=True)

    def _add(self, request: Request, tokens: tuple[int, ...], accepted: int, last: bool) -> None:
        """Turn tokens into a chunk; ``last``: there are no more of this round."""
        sequence = request.sequence
        piece = request.stream.feed(tokens)
        tokens = tokens[: piece.tokens]
        logprobs = tuple(sequence.logprobs[request.kept : request.kept + len(tokens)])
        request.kept += len(tokens)
        text = piece.text
        if piece.stopped:
            self._engine.cancel(sequence)
        ended = sequence.finish is not None and (last or piece.stopped)
        if ended:
            text += request.stream.flush()
            if request.stream.stop is not None:
                sequence.finish = FinishReason.STOP
        request.text.append(text)
        if ended and sequence.finish is FinishReason.FAILED:
            request.error = sequence.error
        elif ended:
            request.completion = self._complete(request)
        if ended:
            del self._active[sequence.id]
        request.chunks.append(
            Chunk(
                text=text,
                tokens=tokens,
                accepted=min(accepted, len(tokens)),
                prompt_done=min(sequence.computed, sequence.prompt_length),
                completion=request.completion,
                logprobs=logprobs,
            )
        )

    @staticmethod
    def _complete(request: Request) -> Completion:
        sequence, timing = request.sequence, request.sequence.timing
        start = sequence.prompt_length
        assert sequence.finish is not None
        return Completion(
            text="".join(request.text),
            tokens=tuple(sequence.tokens[start : start + request.kept]),
            prompt_tokens=tuple(sequence.tokens[:start]),
            finish_reason=sequence.finish.value,
            stop=request.stream.stop,
            seed=sequence.seed,
            stats=sequence.stats,
            timings=Timings(
                prompt=start - sequence.cached,
                prompt_seconds=timing.first_token - timing.prefill_began,
                predicted=request.kept,
                predicted_seconds=timing.last_token - timing.first_token,
                cached=sequence.cached,
            ),
            logprobs=tuple(sequence.logprobs[: request.kept]),
        )
