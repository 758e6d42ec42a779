"""`headlong run`: one prompt, one answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from headlong.cli.chat_options import ChatFlags
from headlong.cli.completion_json import completion_json
from headlong.cli.conversation import Conversation, Message
from headlong.cli.flags import with_flag_groups
from headlong.cli.grammar_options import GrammarFlags
from headlong.cli.options import ModelFlags, SpeculationFlags, load
from headlong.cli.progress_bars import progress_on
from headlong.cli.prompt_text import read_prompt
from headlong.cli.sampling_options import SamplingFlags
from headlong.cli.statistics import summary
from headlong.cli.streaming import follow
from headlong.cli.terminal import Writer
from headlong.errors import ParameterError

if TYPE_CHECKING:
    from headlong.engine.requests import Chunk, Completion

__all__ = ["command"]

_PROMPT: Final = "Prompt"
_OUTPUT: Final = "Output"


@with_flag_groups
def command(
    model: ModelFlags,
    conversation: ChatFlags,
    speculation: SpeculationFlags,
    sampling: SamplingFlags,
    form: GrammarFlags,
    prompt: Annotated[
        str | None,
        typer.Option("-p", "--prompt", metavar="TEXT", help="Prompt.", rich_help_panel=_PROMPT),
    ] = None,
    prompt_file: Annotated[
        Path | None,
        typer.Option(
            "-f",
            "--file",
            metavar="FILE",
            help="Read the prompt from a file; '-': from standard input.",
            rich_help_panel=_PROMPT,
        ),
    ] = None,
    chat: Annotated[
        bool,
        typer.Option(
            "--chat",
            help="Put the prompt into the chat template, as a message of the user's.",
            rich_help_panel=_PROMPT,
        ),
    ] = False,
    display_prompt: Annotated[
        bool | None,
        typer.Option(
            "--display-prompt/--no-display-prompt",
            help="Print the prompt in front of the answer.",
            show_default="a raw prompt is printed, a conversation is not",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print the whole completion with its statistics as JSON, once it has ended.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
) -> None:
    """Complete a prompt.

    The text goes to standard output as it comes, statistics to standard error.
    """
    from headlong.cli.reasoning_view import ReasoningView
    from headlong.tokenizer import RenderedPrompt, opens_reasoning

    if as_json and display_prompt is not None:
        raise ParameterError("--json always holds the prompt; leave --[no-]display-prompt out.")
    if conversation.given and not chat:
        raise ParameterError(f"{conversation.given} needs --chat, which applies a chat template.")
    if as_json and conversation.hide_reasoning:
        raise ParameterError("--json holds reasoning and answer apart; leave --hide-reasoning out.")
    params = form.add_to(sampling.params())
    variables = conversation.variables()
    text = read_prompt(prompt, prompt_file)
    progress = progress_on()
    llm = load(model, speculation, progress)
    rendered = RenderedPrompt(text)
    if chat:
        template = conversation.template(llm.tokenizer)
        messages = Conversation(conversation.system_prompt, [Message("user", text)])
        rendered = template.render(messages.as_dicts(), variables=variables)
    tokens = llm.tokenizer.encode(rendered.text, literal=rendered.literal)
    opened = opens_reasoning(rendered.text) if chat else None
    if params.grammar is not None and opened:
        params = replace(params, grammar=params.grammar.after_reasoning())
    form.check(llm, params)
    chunks = follow(llm.stream(tokens, params), len(tokens), progress)
    if as_json:
        completion = _last(chunks)
        print(completion_json(completion, rendered.text, opened, llm.rehearsal))
    else:
        writer = Writer()
        show_prompt = not chat if display_prompt is None else display_prompt
        try:
            if show_prompt:
                writer.write(rendered.text, dim=True)
            view = None
            if opened is not None:
                view = ReasoningView(writer, opened=opened, hide=conversation.hide_reasoning)
            completion = _last(_shown(chunks, writer.write if view is None else view.feed))
            if view is not None:
                view.finish()
        finally:
            writer.end_line()
    print(summary(completion), file=sys.stderr)


def _shown(chunks: Iterator[Chunk], show: Callable[[str], None]) -> Iterator[Chunk]:
    for chunk in chunks:
        show(chunk.text)
        yield chunk


def _last(chunks: Iterator[Chunk]) -> Completion:
    """Run to the end, for the completion that the last chunk carries."""
    completion = None
    for chunk in chunks:
        completion = chunk.completion
    assert completion is not None
    return completion
