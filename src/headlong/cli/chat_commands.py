"""The commands of a chat: lines that begin with a slash."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from headlong.cli.chat_session import ChatSession
from headlong.cli.conversation import Conversation
from headlong.cli.failures import reason_of
from headlong.cli.options import flag_named
from headlong.cli.sampling_options import SETTINGS, change_setting
from headlong.cli.statistics import speculation_lines, summary
from headlong.errors import ParameterError

__all__ = ["Reply", "execute"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a command wants done: text to show, an answer to be made again, the chat to end."""

    text: str = ""
    regenerate: bool = False
    leave: bool = False


@dataclass(frozen=True, slots=True)
class _Command:
    form: str
    help: str
    run: Callable[[ChatSession, str], Reply]


def execute(session: ChatSession, line: str) -> Reply:
    """Carry out a line that begins with ``/``.

    Raises `ParameterError` for a command or argument that is not understood, naming the nearest.
    """
    name, _, argument = line[1:].strip().partition(" ")
    command = _COMMANDS.get(name)
    if command is None:
        raise ParameterError(f"there is no command /{name:.40}{_nearest(name, _COMMANDS, '/')}")
    argument = argument.strip()
    if argument and " " not in command.form:
        raise ParameterError(f"/{name} takes no argument, but was given {argument!r:.80}.")
    try:
        return command.run(session, argument)
    except OSError as error:
        raise ParameterError(reason_of(error)) from None


def _nearest(name: str, known: Collection[str], prefix: str = "") -> str:
    """The end of a sentence: the nearest known name, or all of them."""
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"; did you mean {prefix}{near[0]}?"
    return f"; there are: {', '.join(prefix + one for one in known)}."


def _help(session: ChatSession, argument: str) -> Reply:
    width = max(len(command.form) for command in _COMMANDS.values())
    lines = [f"{command.form:<{width}}  {command.help}" for command in _COMMANDS.values()]
    lines.append("A line that ends with \\ goes on in the next; // at the start stands for one /.")
    lines.append("Ctrl-C stops an answer; at the prompt, Ctrl-C and Ctrl-D leave.")
    return Reply("\n".join(lines))


def _exit(session: ChatSession, argument: str) -> Reply:
    return Reply(leave=True)


def _clear(session: ChatSession, argument: str) -> Reply:
    session.conversation.messages.clear()
    return Reply("the conversation is empty; the system prompt stays")


def _regenerate(session: ChatSession, argument: str) -> Reply:
    same = "the seed is set, so the answer will be the same; /set seed -1 changes that"
    return Reply("" if session.params.seed is None else same, regenerate=True)


def _system(session: ChatSession, argument: str) -> Reply:
    session.conversation.system = argument or None
    return Reply("system prompt set" if argument else "system prompt removed")


def _set(session: ChatSession, argument: str) -> Reply:
    name, _, text = argument.partition(" ")
    if not name:
        fields = {key: getattr(session.params, setting.field) for key, setting in SETTINGS.items()}
        values = (f"{key} {-1 if value is None else value}" for key, value in fields.items())
        return Reply("\n".join(values))
    by_field = {setting.field: key for key, setting in SETTINGS.items()}
    key = name.lstrip("-").replace("_", "-")
    key = by_field.get(key.replace("-", "_"), key)
    if key not in SETTINGS:
        raise ParameterError(f"there is no setting {name!r:.40}{_nearest(key, SETTINGS)}")
    session.params = change_setting(session.params, key, text.strip())
    return Reply(f"{key} {text.strip()}")


def _spec(session: ChatSession, argument: str) -> Reply:
    limit = session.draft_n_max
    if not session.llm.has_mtp:
        raise ParameterError("no MTP head is loaded, so there is nothing to draft with.")
    if argument == "off":
        wanted: int | None = 0
    elif argument == "auto":
        if limit is not None:
            raise ParameterError(
                f"the chat was started with drafts of {limit} tokens; start it without "
                "--spec-draft-n-max for auto."
            )
        wanted = None
    elif argument.isascii() and argument.isdigit() and len(argument) < 4:
        wanted = int(argument)
        if limit is not None and wanted > limit:
            raise ParameterError(
                f"the chat was started with drafts of {limit} tokens; a message may have shorter "
                "ones only."
            )
    else:
        raise ParameterError(f"/spec takes off, auto or a number, not {argument!r:.40}.")
    with flag_named("/spec"):
        session.params = replace(session.params, draft_n_max=wanted)
    return Reply(f"drafts: {argument if wanted is None or not wanted else f'at most {wanted}'}")


def _stats(session: ChatSession, argument: str) -> Reply:
    lines = [] if session.last is None else ["last answer", summary(session.last)]
    total = speculation_lines(session.llm.stats)
    if total:
        lines += ["since the start", *total]
    return Reply("\n".join(lines) or "nothing has been answered yet")


def _save(session: ChatSession, argument: str) -> Reply:
    path = _path(argument, "/save")
    try:
        session.conversation.save(path, overwrite=path.absolute() in session.files)
    except FileExistsError:
        raise ParameterError(f"{path} exists already; choose another name.") from None
    session.files.add(path.absolute())
    return Reply(f"saved to {path}")


def _load(session: ChatSession, argument: str) -> Reply:
    path = _path(argument, "/load")
    session.conversation = Conversation.load(path)
    session.files.add(path.absolute())
    messages = session.conversation.messages
    text = f"{len(messages)} messages loaded"
    if messages and messages[-1].role == "user":
        text += "; /regen answers the last one"
    return Reply(text)


def _path(argument: str, command: str) -> Path:
    if not argument:
        raise ParameterError(f"{command} needs the name of a file.")
    try:
        return Path(argument).expanduser()
    except RuntimeError as error:  # ~name of a user who does not exist
        raise ParameterError(f"{argument}: {error}") from None


_COMMANDS: Final = {
    "help": _Command("/help", "show this", _help),
    "exit": _Command("/exit", "leave", _exit),
    "clear": _Command("/clear", "start a new conversation", _clear),
    "regen": _Command("/regen", "answer the last message again", _regenerate),
    "system": _Command("/system TEXT", "set the system prompt; without TEXT, remove it", _system),
    "set": _Command("/set NAME VALUE", "change a setting, as in /set temp 0.7; alone, list", _set),
    "spec": _Command("/spec off|auto|N", "draft length, from the next answer on", _spec),
    "stats": _Command("/stats", "figures of the last answer and since the start", _stats),
    "save": _Command("/save FILE", "write the conversation as JSON", _save),
    "load": _Command("/load FILE", "go on with a conversation that was saved", _load),
}
