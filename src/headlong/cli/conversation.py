"""A conversation: its messages, and the file it can be kept in."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from headlong.cli.prompt_text import read_text
from headlong.errors import ParameterError

__all__ = ["Conversation", "Message"]

_ROLES: Final = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Message:
    """What one side said; ``reasoning`` came before an assistant's ``content``."""

    role: str
    content: str
    reasoning: str = ""

    def as_dict(self) -> dict[str, str]:
        """In OpenAI's form, which templates read."""
        fields = {"role": self.role, "content": self.content}
        return fields | ({"reasoning_content": self.reasoning} if self.reasoning else {})


@dataclass(slots=True)
class Conversation:
    """Messages in order, the system prompt apart."""

    system: str | None = None
    messages: list[Message] = field(default_factory=list)

    def as_dicts(self) -> list[dict[str, str]]:
        """All messages in OpenAI's form, the system prompt first."""
        first = [] if self.system is None else [Message("system", self.system)]
        return [message.as_dict() for message in (*first, *self.messages)]

    def undo_answer(self) -> bool:
        """Drop what came after the last question; whether there was a question."""
        for index in reversed(range(len(self.messages))):
            if self.messages[index].role == "user":
                del self.messages[index + 1 :]
                return True
        return False

    def save(self, path: Path, *, overwrite: bool) -> None:
        """Write a JSON list of messages.  Raises `OSError`, also for a file that exists."""
        text = json.dumps(self.as_dicts(), indent=2, ensure_ascii=False)
        mode = "w" if overwrite else "x"
        with path.open(mode, encoding="utf-8", errors="replace") as stream:
            stream.write(f"{text}\n")

    @staticmethod
    def load(path: Path) -> Conversation:
        """Read what `save` wrote, or any JSON list of messages in OpenAI's form.

        Raises `ParameterError` naming what is wrong with it, `OSError` where it cannot be read.
        """
        try:
            data = json.loads(read_text(path))
        except (ValueError, RecursionError) as error:
            raise ParameterError(f"{path} is not JSON: {error}") from None
        if not isinstance(data, list):
            raise ParameterError(f"{path} holds no list of messages.")
        messages = [_message(item, f"{path}: message {i}") for i, item in enumerate(data, start=1)]
        system = None
        if messages and messages[0].role == "system":
            system = messages.pop(0).content
        if any(message.role == "system" for message in messages):
            raise ParameterError(f"{path}: a system message stands after the first message.")
        return Conversation(system, messages)


def _message(item: object, place: str) -> Message:
    if not isinstance(item, dict):
        raise ParameterError(f"{place} is no object with role and content.")
    role, content = item.get("role"), item.get("content")
    reasoning = item.get("reasoning_content", "")
    if role not in _ROLES:
        raise ParameterError(f"{place} has the role {role!r:.40}; known are {', '.join(_ROLES)}.")
    if not isinstance(content, str) or not isinstance(reasoning, str):
        raise ParameterError(f"{place} has content that is not text.")
    unknown = sorted(item.keys() - {"role", "content", "reasoning_content"})
    if unknown:
        raise ParameterError(f"{place} has the field {unknown[0]!r:.40}, which a chat cannot keep.")
    return Message(role, content, reasoning)
