"""What a chat holds between turns, and how it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from headlong.cli.conversation import Conversation, Message
from headlong.cli.interrupts import noted_interrupts
from headlong.cli.reasoning_view import ReasoningView
from headlong.cli.streaming import follow
from headlong.cli.terminal import Writer
from headlong.errors import ContextError, ParameterError
from headlong.progress import Progress
from headlong.tokenizer import opens_reasoning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headlong.engine.requests import Completion
    from headlong.llm import LLM
    from headlong.sampling import SamplingParams
    from headlong.tokenizer import ChatTemplate

__all__ = ["ChatSession"]


@dataclass(slots=True)
class ChatSession:
    """One chat: the model, its settings, the conversation.

    ``draft_n_max`` is the longest draft that was set at the start, None for ``auto``; ``last`` is
    the last answer, if it was not stopped; ``files`` are those that this chat may write again.
    """

    llm: LLM
    template: ChatTemplate
    variables: Mapping[str, object]
    params: SamplingParams
    draft_n_max: int | None
    hide_reasoning: bool
    progress: Progress
    conversation: Conversation = field(default_factory=Conversation)
    last: Completion | None = None
    files: set[Path] = field(default_factory=set)

    def ask(self, text: str) -> Completion | None:
        """Answer a message of the user's.

        If it cannot be answered, the conversation stays as it was, and the error is raised.
        """
        self.conversation.messages.append(Message("user", text))
        try:
            return self.answer()
        except BaseException:
            self.conversation.messages.pop()
            raise

    def answer_again(self) -> Completion | None:
        """Answer the last message again; the earlier answer stays if that fails.

        Raises `ParameterError` when there is no message.
        """
        before = list(self.conversation.messages)
        if not self.conversation.undo_answer():
            raise ParameterError("there is no message yet to answer again.")
        try:
            return self.answer()
        except BaseException:
            self.conversation.messages[:] = before
            raise

    def check_template(self) -> None:
        """Render a conversation of one message, so that a fault shows before one is typed."""
        probe = Conversation(self.conversation.system, [Message("user", "Hello")])
        self.template.render(probe.as_dicts(), variables=self.variables)

    def answer(self) -> Completion | None:
        """Answer the conversation, writing to standard output as it comes.

        Ctrl-C ends the answer, which is kept as far as it came; there is no `Completion` then.
        Raises `ContextError` when the conversation has grown too long, `TemplateError` when the
        template refuses it.
        """
        prompt = self.template.render(self.conversation.as_dicts(), variables=self.variables)
        tokens = self.llm.tokenizer.encode(prompt.text, literal=prompt.literal)
        try:
            chunks = self.llm.stream(tokens, self.params)
        except ContextError as error:
            raise ContextError(f"{error} '/clear' starts a new conversation.") from None
        view = ReasoningView(
            Writer(), opened=opens_reasoning(prompt.text), hide=self.hide_reasoning
        )
        completion = None
        with noted_interrupts() as interrupted:
            for chunk in follow(chunks, len(tokens), self.progress, interrupted):
                view.feed(chunk.text)
                completion = chunk.completion
        view.finish()
        self.last = completion
        self.conversation.messages.append(Message("assistant", view.content, view.reasoning))
        return completion
