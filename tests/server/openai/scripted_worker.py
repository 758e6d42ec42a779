"""A worker whose engine says what a test wrote, for what no small model can be made to say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from headlong import LLM
from headlong.engine.requests import Chunk
from headlong.errors import HeadlongError
from headlong.sampling import SamplingParams
from headlong.server.answer import Answer, Answers
from headlong.server.refusals import QueueFull
from headlong.server.worker import State, Worker


class ScriptedWorker(Worker):
    """Answers with ``script``, one chunk at each turn of the event loop; then ``error``, if any.

    ``full``: refuses everything instead.  ``submitted`` is what it was asked.
    """

    def __init__(self, llm: LLM) -> None:
        super().__init__(lambda progress: llm)
        self._llm = llm
        self.state = State.READY
        self.script: Sequence[Chunk] = ()
        self.error: HeadlongError | None = None
        self.full = False
        self.submitted: list[tuple[Sequence[int], SamplingParams]] = []
        self.left = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def submit_all(
        self, wanted: Iterable[tuple[Sequence[int], SamplingParams]], *, special: bool = False
    ) -> Answers:
        if self.full:
            raise QueueFull("the server is full.", 3)
        pairs = list(wanted)
        self.submitted += pairs
        news = asyncio.Event()
        answers = [
            Answer(tokens, params, special=special, news=news, leave=self._has_left)
            for tokens, params in pairs
        ]
        for answer in answers:
            task = asyncio.create_task(self._say(answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return Answers(answers, news)

    async def _say(self, answer: Answer) -> None:
        for chunk in self.script:
            answer.deliver([chunk], None, last=chunk.completion is not None)
            await asyncio.sleep(0)
        if self.error is not None:
            answer.deliver([], self.error, last=True)

    def _has_left(self, answer: Answer) -> None:
        self.left += 1
