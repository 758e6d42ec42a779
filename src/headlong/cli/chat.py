"""`headlong chat`: a conversation, turn by turn."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING, Final

import typer

from headlong.cli.chat_options import ChatFlags
from headlong.cli.flags import with_flag_groups
from headlong.cli.options import ModelFlags, SpeculationFlags, load
from headlong.cli.progress_bars import progress_on
from headlong.cli.sampling_options import SamplingFlags
from headlong.cli.statistics import answer_line
from headlong.errors import HeadlongError

if TYPE_CHECKING:
    from headlong.cli.chat_session import ChatSession

__all__ = ["command"]

_CACHE_MIB: Final = 1024
"""For what was read of the conversation, which every turn begins with."""


@with_flag_groups
def command(
    model: ModelFlags,
    conversation: ChatFlags,
    speculation: SpeculationFlags,
    sampling: SamplingFlags,
) -> None:
    """Talk with a model; '/help' lists what can be done meanwhile.

    Without a terminal, every line of standard input is a message, and an error makes the exit code
    1 at the end.
    """
    from headlong.cli.chat_session import ChatSession
    from headlong.cli.conversation import Conversation

    params = sampling.params()
    variables = conversation.variables()
    progress = progress_on()
    llm = load(model, speculation, progress, cache_ram=_CACHE_MIB)
    session = ChatSession(
        llm=llm,
        template=conversation.template(llm.tokenizer),
        variables=variables,
        params=params,
        draft_n_max=speculation.fixed_length,
        hide_reasoning=conversation.hide_reasoning,
        progress=progress,
        conversation=Conversation(conversation.system_prompt),
    )
    session.check_template()
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    if interactive:
        with suppress(ImportError):
            importlib.import_module("readline")  # gives input() line editing
        _remark(f"{model.path.name}, context of {llm.context} tokens; /help lists commands")
    failed = False
    for line in _interactive_lines() if interactive else _piped_lines():
        try:
            if not _turn(session, line, interactive):
                break
        except HeadlongError as error:
            _remark(f"error: {error}")
            failed = True
        except KeyboardInterrupt:
            if not interactive:
                raise
            _remark("stopped")
    if failed and not interactive:
        raise typer.Exit(1)


def _turn(session: ChatSession, line: str, interactive: bool) -> bool:
    """Answer a line or carry out a command; whether to go on."""
    from headlong.cli.chat_commands import execute

    completion = None
    if line.startswith("/") and not line.startswith("//"):
        reply = execute(session, line)
        if reply.text:
            _remark(reply.text)
        if reply.leave or not reply.regenerate:
            return not reply.leave
        completion = session.answer_again()
    else:
        completion = session.ask(line.removeprefix("/"))
    if completion is not None:
        _remark(answer_line(completion))
    elif interactive:
        _remark("stopped")
    else:
        raise KeyboardInterrupt  # nobody is there to go on
    return True


def _remark(text: str) -> None:
    """What is not the model's goes to standard error."""
    typer.secho(text, err=True, dim=True)


def _interactive_lines() -> Iterator[str]:
    """Lines typed at a prompt, until Ctrl-C or Ctrl-D."""
    while True:
        try:
            line = input("\n> ")
            while line.endswith("\\"):
                line = f"{line[:-1]}\n{input('... ')}"
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if line.strip():
            yield line


def _piped_lines() -> Iterator[str]:
    if isinstance(sys.stdin, TextIOWrapper):
        # Bytes that are not UTF-8 are refused with the message they stand in.
        sys.stdin.reconfigure(errors="surrogateescape")
    lines = (line.rstrip("\n") for line in sys.stdin)
    for line in lines:
        while line.endswith("\\"):
            line = f"{line[:-1]}\n{next(lines, '')}"
        if line.strip():
            yield line
