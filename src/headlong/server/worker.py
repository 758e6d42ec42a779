"""The thread that owns the engine; everybody else talks to it through here.

Loads the model, then runs step after step while there is work.  What asyncio asks for (a request,
a cancellation, the end) goes through a queue that is emptied between steps; what a step made goes
back in one call on the event loop.  A step that raises ends the answers that ran, not the thread.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

from headlong.engine.requests import Chunk, Request
from headlong.errors import HeadlongError, ParameterError
from headlong.llm import LLM
from headlong.progress import Progress
from headlong.sampling import SamplingParams
from headlong.server.answer import Answer, Answers
from headlong.server.loading import LoadingProgress
from headlong.server.refusals import Broken, Expired, NotReady, QueueFull, ShuttingDown

__all__ = ["Delivery", "Limits", "State", "Worker"]

T = TypeVar("T")

_log: Final = logging.getLogger("headlong.server")

# A second is when the next answer is likely to have ended, and short enough not to idle.
_RETRY_AFTER: Final = 1


class State(StrEnum):
    """What the worker can do now."""

    LOADING = "loading"
    READY = "ok"
    DRAINING = "shutting_down"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Limits:
    """What may wait, and for how long: answers in the queue, seconds (None: without end)."""

    queue: int = 64
    queue_seconds: float | None = None
    request_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a step did for one answer; ``last``: nothing follows, ``error`` says if that is bad."""

    answer: Answer
    chunks: tuple[Chunk, ...]
    error: HeadlongError | None
    last: bool


class Worker:
    """Loads a model and serves it.  Every public method is for the event loop's thread.

    Args:
        load: makes the model, in the worker's thread; reports to the `Progress` it is given.
        limits: what may wait.
        progress: where loading is shown, besides `loading`.
        per_token: a chunk for every token, instead of one for every step.
    """

    def __init__(
        self,
        load: Callable[[Progress], LLM],
        limits: Limits | None = None,
        progress: Progress | None = None,
        *,
        per_token: bool = False,
    ) -> None:
        self._per_token = per_token
        self.limits = limits or Limits()
        self.loading = LoadingProgress(progress)
        self.state = State.LOADING
        self.observers: list[Callable[[Sequence[Delivery]], None]] = []
        """Called on the event loop with what each step made, such as metrics."""
        self._load = load
        self._llm: LLM | None = None
        self._open: dict[Answer, list[asyncio.TimerHandle]] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        # Messages to the thread: an answer to begin or, if it was left, to end; a question about
        # the engine; None: end.
        self._mail: SimpleQueue[Answer | Callable[[LLM], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    # --- Life

    def start(self) -> None:
        """Begin to load; to be called on the event loop that the answers will be read on."""
        self._loop = asyncio.get_running_loop()
        self._loaded: asyncio.Future[None] = self._loop.create_future()
        self._loaded.add_done_callback(_retrieve)
        self._thread.start()

    async def loaded(self) -> None:
        """Return once requests are taken; raises what loading raised."""
        await asyncio.shield(self._loaded)

    @property
    def llm(self) -> LLM:
        """The model.  Raises `NotReady` before it is loaded and while the server ends.

        Only what does not change may be used: tokenizer, context, checks.
        """
        if self.state is State.LOADING:
            raise NotReady("the model is being loaded; try again in a moment.")
        if self.state is State.FAILED:
            raise NotReady("the model could not be loaded.")
        if self.state is not State.READY or self._llm is None:
            raise ShuttingDown("the server is shutting down; send the request to another one.")
        return self._llm

    @property
    def answers(self) -> Sequence[Answer]:
        """Answers that run or wait, oldest first."""
        return tuple(self._open)

    async def drain(self, seconds: float) -> bool:
        """Take nothing more and wait until every answer has ended; whether all did in time."""
        if self.state is State.READY:
            self.state = State.DRAINING
        self.loading.stop()
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def stop(self) -> None:
        """End now: answers that still run are told so, and the thread leaves after its step."""
        if self.state is not State.FAILED:
            self.state = State.STOPPED
        self.loading.stop()
        why = ShuttingDown("the answer ended early because the server was stopped.")
        for answer in self.answers:
            self._end(answer, why)
        self._mail.put(None)

    def join(self, seconds: float) -> bool:
        """Wait for the thread; whether it has ended."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    async def ask(self, question: Callable[[LLM], T]) -> T:
        """What ``question`` finds out about the model between two steps, in the engine's thread.

        Raises `NotReady` where there is no model.
        """
        llm = self.llm
        answer: asyncio.Future[T] = self._loop.create_future()

        def told(found: T) -> None:
            if not answer.done():
                answer.set_result(found)

        self._mail.put(lambda llm: self._on_loop(told, question(llm)))
        while not answer.done():
            await asyncio.wait({answer}, timeout=1.0)
            if not self._thread.is_alive() and not answer.done():
                return question(llm)  # nobody else uses it any more
        return answer.result()

    # --- Answers

    def submit(
        self, tokens: Sequence[int], params: SamplingParams, *, special: bool = False
    ) -> Answer:
        """Queue token ids; ``special`` writes control tokens out in the text.

        Raises `QueueFull`, `NotReady`, `ParameterError` or `ContextError` at once.
        """
        return self.submit_all([(tokens, params)], special=special).each[0]

    def submit_all(
        self, wanted: Iterable[tuple[Sequence[int], SamplingParams]], *, special: bool = False
    ) -> Answers:
        """Queue several answers, all or none; raises as `submit` does."""
        pairs = list(wanted)
        llm = self.llm
        self._admit(len(pairs), llm.sequences)
        for tokens, params in pairs:
            llm.requests.check(tokens, params)
        news = asyncio.Event()
        answers = [
            Answer(tokens, params, special=special, news=news, leave=self._leave)
            for tokens, params in pairs
        ]
        for answer in answers:
            self._open[answer] = self._timers(answer)
            self._mail.put(answer)
        self._idle.clear()
        return Answers(answers, news)

    @property
    def running(self) -> int:
        """Answers that have a slot."""
        return sum(answer.started for answer in self._open)

    @property
    def waiting(self) -> int:
        """Answers that have none yet."""
        return len(self._open) - self.running

    def _admit(self, count: int, slots: int) -> None:
        most = slots + self.limits.queue
        if count > most:
            raise ParameterError(
                f"the request asks for {count} answers at once, and at most {most} may run or wait."
            )
        if len(self._open) + count > most:
            raise QueueFull(
                f"the server is full: {len(self._open)} answers run or wait, and at most {most} "
                "may; try again later.",
                _RETRY_AFTER,
            )

    def _timers(self, answer: Answer) -> list[asyncio.TimerHandle]:
        limits = self.limits
        timers = []
        if limits.queue_seconds is not None:
            timers.append(self._loop.call_later(limits.queue_seconds, self._queued_long, answer))
        if limits.request_seconds is not None:
            timers.append(self._loop.call_later(limits.request_seconds, self._took_long, answer))
        return timers

    def _queued_long(self, answer: Answer) -> None:
        if not answer.started:
            seconds = self.limits.queue_seconds
            why = f"the request waited {seconds:g} seconds for a slot; try again later."
            self._end(answer, Expired(why, queued=True))

    def _took_long(self, answer: Answer) -> None:
        seconds = self.limits.request_seconds
        why = f"the answer took longer than {seconds:g} seconds, the most that this server gives."
        self._end(answer, Expired(why, queued=False))

    def _end(self, answer: Answer, error: HeadlongError) -> None:
        """End an answer from this side."""
        self._deliver([Delivery(answer, (), error, last=True)])
        answer.cancel()

    def _leave(self, answer: Answer) -> None:
        """Nobody reads the answer any more."""
        if answer in self._open:
            self._deliver([Delivery(answer, (), None, last=True)])
        self._mail.put(answer)

    def _close(self, answer: Answer) -> None:
        for timer in self._open.pop(answer, ()):
            timer.cancel()
        if not self._open:
            self._idle.set()

    def _deliver(self, made: Sequence[Delivery]) -> None:
        """What a step made, on the event loop."""
        # Steps that were under way when an answer was left still tell of it.
        made = [one for one in made if one.answer in self._open]
        for one in made:
            one.answer.deliver(one.chunks, one.error, last=one.last)
            if one.last:
                self._close(one.answer)
        for observe in self.observers:
            observe(made)

    # --- The thread

    def _run(self) -> None:
        try:
            llm = self._load(self.loading)
        except BaseException as error:
            self._on_loop(self._failed, error)
            return
        try:
            self._on_loop(self._take_over, llm)
            self._serve(llm)
        finally:
            llm.close()

    def _failed(self, error: BaseException) -> None:
        if self.state is State.LOADING:
            self.state = State.FAILED
        if not self._loaded.done():
            self._loaded.set_exception(error)

    def _take_over(self, llm: LLM) -> None:
        self._llm = llm
        self.loading.fraction = 1.0
        if self.state is State.LOADING:
            self.state = State.READY
        if not self._loaded.done():
            self._loaded.set_result(None)

    def _serve(self, llm: LLM) -> None:
        held: dict[Answer, Request] = {}
        while self._read_mail(llm, held):
            if held:
                made = self._step(llm, held)
                for one in made:
                    if one.last:
                        del held[one.answer]
                self._on_loop(self._deliver, made)

    def _step(self, llm: LLM, held: dict[Answer, Request]) -> list[Delivery]:
        try:
            llm.requests.step()
        except Exception:
            # Every request that ran has ended with an error; the next ones may fare better.
            broken = Broken(secrets.token_hex(4))
            _log.exception("incident %s: a step of the engine failed", broken.incident)
            return [Delivery(answer, (), broken, last=True) for answer in held]
        return list(_made(held))

    def _read_mail(self, llm: LLM, held: dict[Answer, Request]) -> bool:
        """Do what was asked for since the last step; waits if there is nothing else to do."""
        while True:
            try:
                answer = self._mail.get(block=not held)
            except Empty:
                return True
            if answer is None:
                for request in held.values():
                    llm.requests.cancel(request)
                return False
            if not isinstance(answer, Answer):
                answer(llm)
                continue
            if answer.left:
                if answer in held:
                    llm.requests.cancel(held.pop(answer))
                continue
            try:
                answer.request = llm.requests.submit(
                    answer.tokens,
                    answer.params,
                    special=answer.special,
                    per_token=self._per_token,
                )
            except HeadlongError as error:
                self._on_loop(self._deliver, [Delivery(answer, (), error, last=True)])
            else:
                held[answer] = answer.request

    def _on_loop(self, function: Callable[[T], None], argument: T) -> None:
        with suppress(RuntimeError):  # the loop has closed: nobody is left to be told
            self._loop.call_soon_threadsafe(function, argument)


def _made(held: dict[Answer, Request]) -> Iterable[Delivery]:
    """What the step added to each request."""
    for answer, request in held.items():
        if request.sequence.lease is not None:
            answer.slot = request.sequence.lease.slot
        chunks = tuple(request.chunks)
        request.chunks.clear()
        last = request.completion is not None or request.error is not None
        if chunks or last:
            yield Delivery(answer, chunks, request.error, last)


def _retrieve(future: asyncio.Future[None]) -> None:
    """Look at the outcome, so that asyncio does not warn of one that nobody asked for."""
    if not future.cancelled():
        future.exception()
