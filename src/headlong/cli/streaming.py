"""An answer as it comes: the prompt's progress, then its chunks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING

from headlong.progress import Progress

if TYPE_CHECKING:
    from headlong.engine.requests import Chunk

__all__ = ["follow"]


def follow(
    chunks: Iterator[Chunk],
    prompt_tokens: int,
    progress: Progress,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Chunk]:
    """The chunks of an answer; a prompt that takes several passes shows as a stage first.

    Once ``stopped`` tells so, the request is cancelled and the chunks end.
    """
    try:
        chunk = next(chunks)
        if not _answers(chunk):
            with progress.stage("prompt", prompt_tokens, "tokens") as stage:
                done = 0
                while not _answers(chunk):
                    stage.advance(chunk.prompt_done - done)
                    done = chunk.prompt_done
                    if stopped():
                        return
                    chunk = next(chunks)
        yield chunk
        for chunk in chunks:
            if stopped():
                return
            yield chunk
    finally:
        if isinstance(chunks, Generator):
            chunks.close()


def _answers(chunk: Chunk) -> bool:
    return bool(chunk.tokens) or chunk.completion is not None
