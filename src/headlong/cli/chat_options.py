"""The flags of conversations: system prompt, chat template, reasoning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from headlong.cli.options import flag_named
from headlong.cli.prompt_text import read_text
from headlong.errors import ParameterError

if TYPE_CHECKING:
    from headlong.tokenizer import ChatTemplate, Tokenizer

__all__ = ["ChatFlags"]

_CHAT: Final = "Conversation"


@dataclass(frozen=True, slots=True)
class ChatFlags:
    """How a conversation becomes a prompt, and its answer text."""

    system_prompt: Annotated[
        str | None,
        typer.Option(
            "-sys",
            "--system-prompt",
            "--system",
            metavar="TEXT",
            help="What the model is told before the conversation.",
            rich_help_panel=_CHAT,
        ),
    ] = None
    chat_template_file: Annotated[
        Path | None,
        typer.Option(
            "--chat-template-file",
            metavar="FILE",
            help="A Jinja template instead of the one in the model's file.",
            rich_help_panel=_CHAT,
        ),
    ] = None
    chat_template_kwargs: Annotated[
        str | None,
        typer.Option(
            "--chat-template-kwargs",
            metavar="JSON",
            help="Variables for the template, as '{\"enable_thinking\": false}'.",
            rich_help_panel=_CHAT,
        ),
    ] = None
    hide_reasoning: Annotated[
        bool,
        typer.Option(
            "--hide-reasoning",
            help="Show only the answer, not the reasoning before it.",
            rich_help_panel=_CHAT,
        ),
    ] = False

    @property
    def given(self) -> str | None:
        """The first of these flags that was given."""
        flags = {
            "--system-prompt": self.system_prompt is not None,
            "--chat-template-file": self.chat_template_file is not None,
            "--chat-template-kwargs": self.chat_template_kwargs is not None,
            "--hide-reasoning": self.hide_reasoning,
        }
        return next((flag for flag, is_given in flags.items() if is_given), None)

    def variables(self) -> Mapping[str, object]:
        """Variables for the template.  Raises `ParameterError` unless they are a JSON object."""
        if self.chat_template_kwargs is None:
            return {}
        try:
            variables = json.loads(self.chat_template_kwargs)
        except (ValueError, RecursionError) as error:
            raise ParameterError(f"--chat-template-kwargs: not JSON: {error}") from None
        if not isinstance(variables, dict):
            raise ParameterError(
                "--chat-template-kwargs: must be a JSON object, as '{\"enable_thinking\": false}'"
            )
        return variables

    def template(self, tokenizer: Tokenizer) -> ChatTemplate:
        """The template to use.  Raises `TemplateError` if there is none, or it is broken."""
        from headlong.tokenizer import ChatTemplate

        with flag_named("--chat-template-file"):
            file = self.chat_template_file
            source = None if file is None else read_text(file)
        return ChatTemplate.for_tokenizer(tokenizer, source=source)
