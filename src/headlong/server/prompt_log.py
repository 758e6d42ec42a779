"""Prompts and answers in the log, for those who ask for it with `--log-prompts`; else never."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from headlong.errors import HeadlongError
from headlong.server.worker import Delivery, Worker

__all__ = ["PromptLog"]

_log: Final = logging.getLogger("headlong.server")


class PromptLog:
    """Writes a line for the prompt and one for the answer of everything that finishes.

    `observe` is to be one of the worker's observers.  Texts are quoted, so that nothing in them
    can look like another line of the log.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def observe(self, deliveries: Sequence[Delivery]) -> None:
        """Log what these deliveries complete."""
        for delivery in deliveries:
            completion = delivery.chunks[-1].completion if delivery.chunks else None
            if completion is None:
                continue
            try:
                tokenizer = self._worker.llm.tokenizer
                prompt = repr(tokenizer.decode(completion.prompt_tokens, special=True))
            except HeadlongError:  # the server ends: the model may not be asked any more
                prompt = f"{len(completion.prompt_tokens)} tokens"
            _log.info("prompt: %s", prompt)
            _log.info("answer: %r", completion.text)
