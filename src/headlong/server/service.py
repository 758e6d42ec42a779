"""What every route needs: the worker, the settings, and what follows from the loaded model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from headlong.errors import HeadlongError
from headlong.llm import LLM
from headlong.server.api_error import ApiError, error_of
from headlong.server.metrics import Metrics
from headlong.server.settings import ServerSettings
from headlong.server.worker import Worker
from headlong.tokenizer import ChatTemplate

__all__ = ["Service"]

P = ParamSpec("P")
R = TypeVar("R")

# Text of this length is tokenized in about two milliseconds; longer work leaves the event loop.
_SHORT_TEXT: Final = 4096


@dataclass(slots=True)
class Service:
    """The server's parts.  Made once; routes are closures over it."""

    worker: Worker
    settings: ServerSettings
    started: int = field(default_factory=lambda: int(time.time()))
    metrics: Metrics = field(init=False)
    _template: ChatTemplate | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Look on from the start."""
        self.metrics = Metrics(self.names[0])
        self.worker.observers.append(self.metrics.observe)

    @property
    def llm(self) -> LLM:
        """The model.  Raises `ApiError` 503 while there is none."""
        try:
            return self.worker.llm
        except HeadlongError as error:
            raise error_of(error) from None

    @property
    def names(self) -> tuple[str, ...]:
        """What the model is called here; the first is the one that is shown."""
        if self.settings.alias:
            return self.settings.alias
        name = self.settings.model or "headlong"
        return (Path(name).stem if not name.startswith("hf:") else name.removeprefix("hf:"),)

    @property
    def keep_alive(self) -> float | None:
        """Seconds of silence before a sign of life; None: no signs."""
        return self.settings.keep_alive or None

    def check_model(self, name: str | None) -> None:
        """Refuse a request for another model, where the server is set to."""
        if name is None or name in self.names or self.settings.accept_any_model:
            return
        raise ApiError(
            404,
            f"there is no model {name[:200]!r} here; this server has '{self.names[0]}'.",
            param="model",
            code="model_not_found",
        )

    async def template(self) -> ChatTemplate:
        """The chat template, compiled when first asked for."""
        if self._template is None:
            tokenizer = self.llm.tokenizer
            file = self.settings.chat_template_file

            def compiled() -> ChatTemplate:
                source = None if file is None else file.read_text(encoding="utf-8")
                return ChatTemplate.for_tokenizer(tokenizer, source=source)

            self._template = await self.aside(compiled)
        return self._template

    async def encode(self, text: str, *, special: bool = True) -> list[int]:
        """The tokens of a prompt; long texts do not hold up others."""
        encode = self.llm.tokenizer.encode
        if len(text) <= _SHORT_TEXT:
            return encode(text, special=special)
        return await self.aside(encode, text, special=special)

    async def encode_parts(self, parts: Iterable[int | str]) -> list[int]:
        """The tokens of a prompt given as texts and ids; only a text at the front gets a BOS."""
        tokens: list[int] = []
        for place, part in enumerate(parts):
            if isinstance(part, int):
                tokens.append(part)
            else:
                add_bos = None if place == 0 else False
                tokens += await self.aside(self.llm.tokenizer.encode, part, add_bos=add_bos)
        return tokens

    @staticmethod
    async def aside(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Work that would hold up the event loop, done in another thread."""
        return await asyncio.to_thread(function, *args, **kwargs)
