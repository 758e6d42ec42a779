"""A tiny model behind a worker, and engines that misbehave on demand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from headlong import LLM
from headlong.progress import Progress
from headlong.server.worker import Limits, Worker

CONTEXT = 512
SLOTS = 2


def loads(path: Path, **options: object) -> Callable[[Progress], LLM]:
    """What a worker is given to make its model."""
    settings: dict[str, object] = {
        "context": CONTEXT, "sequences": SLOTS, "threads": 1, "draft_n_max": 3, "prefill_rows": 64,
        **options,
    }  # fmt: skip
    return lambda progress: LLM(path, progress=progress, **settings)  # type: ignore[arg-type]


class Held:
    """Makes a model whose steps wait until they are allowed; `broken` makes them raise."""

    def __init__(self, load: Callable[[Progress], LLM]) -> None:
        self._load = load
        self._steps = threading.Semaphore(0)
        self.free = False
        self.broken = False

    def allow(self, steps: int = 1) -> None:
        self._steps.release(steps)

    def let_go(self) -> None:
        self.free = True
        self._steps.release()

    def __call__(self, progress: Progress) -> LLM:
        llm = self._load(progress)
        engine = llm.requests._engine
        step = engine.step

        def held_step() -> object:
            if not self.free:
                assert self._steps.acquire(timeout=10), "nobody allowed a step"
            if self.broken:
                raise RuntimeError("/a/secret/path went wrong")
            return step()

        engine.step = held_step  # type: ignore[method-assign, assignment]
        return llm


@asynccontextmanager
async def working(
    load: Callable[[Progress], LLM], limits: Limits | None = None
) -> AsyncIterator[Worker]:
    """A worker that has loaded; stopped at the end."""
    worker = Worker(load, limits)
    worker.start()
    try:
        await worker.loaded()
        yield worker
    finally:
        if isinstance(load, Held):
            load.let_go()
        worker.stop()
        assert await asyncio.to_thread(worker.join, 10)
