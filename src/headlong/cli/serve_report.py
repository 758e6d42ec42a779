"""What `headlong serve` says: the memory it will take, where it listens, how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import typer

from headlong.cli.figures import byte_size
from headlong.server.settings import ServerSettings

if TYPE_CHECKING:
    from headlong.llm import LLM
    from headlong.tools.memory_plan import MemoryPlan

__all__ = ["Report", "head_line", "plan_lines"]

_QUESTION: Final = """'{"messages": [{"role": "user", "content": "Hello"}]}'"""


def plan_lines(plan: MemoryPlan, settings: ServerSettings) -> Iterator[str]:
    """The memory plan, and what had to shrink."""
    slots = f"{plan.slots} {'slot' if plan.slots == 1 else 'slots'} of {plan.context} tokens"
    available = plan.available
    room = f" of {byte_size(available.bytes)} {available.limit}" if available else ""
    yield f"memory: {byte_size(plan.total)}{room}, all slots and caches full"
    parts = [f"weights {byte_size(plan.needs.weights)}"]
    if plan.needs.head:
        parts.append(f"MTP head {byte_size(plan.needs.head)}")
    parts.append(f"KV cache {byte_size(plan.kv)} for {slots}")
    parts.append(f"recurrent state {byte_size(plan.recurrent)}")
    if plan.prefix_cache:
        parts.append(f"kept prompts {byte_size(plan.prefix_cache)}")
    parts.append(f"program and scratch {byte_size(plan.scratch)}")
    yield f"  {', '.join(parts)}"
    if plan.shrunk:
        why = "memory allows no more; --fit off refuses instead"
        yield f"fit: {', '.join(plan.shrunk)} ({why})"


def head_line(has_head: bool, settings: ServerSettings) -> str:
    """One line on whether the file has an MTP head, and what to do if not."""
    if not has_head:
        return (
            "MTP head: none in this file, so nothing is drafted. Files that have one say MTP in "
            "their name, or nextn_predict_layers in their metadata (see 'headlong inspect FILE')."
        )
    if settings.spec_type == "none":
        return "MTP head: in the file, but left out by --spec-type none."
    length = settings.spec_draft_n_max
    if length == 0:
        return "MTP head: loaded, but --spec-draft-n-max 0 drafts nothing unless a request asks."
    chosen = "drafts as long as they pay" if length is None else f"drafts of up to {length} tokens"
    return f"MTP head: in the file; {chosen}, the text stays the same."


class Report:
    """`Events` of a server, printed: the addresses to standard output, the rest to standard error.

    Whoever reads the output may leave; the server goes on.
    """

    def __init__(self, settings: ServerSettings, plan: MemoryPlan, name: str) -> None:
        self._settings = settings
        self._plan = plan
        self._name = name

    def listening(self, url: str) -> None:
        """The port is taken; loading begins."""
        _say(f"listening on {url}, loading {self._name}", err=True)

    def ready(self, url: str, llm: LLM) -> None:
        """Requests are taken."""
        settings, plan = self._settings, self._plan
        key = ' -H "Authorization: Bearer YOUR_KEY"' if settings.api_keys else ""
        slots = f"{plan.slots} {'slot' if plan.slots == 1 else 'slots'}"
        _say(f"\nready: {url}  ({slots}, context {plan.context})")
        _say(f"chat page: {url}/")
        _say(f"API: {url}/v1")
        _say(head_line(plan.needs.has_head, settings))
        _say(
            f"try: curl {url}/v1/chat/completions{key} -H 'Content-Type: application/json' "
            f"-d {_QUESTION}\n"
        )

    def stopping(self, answers: int, seconds: float) -> None:
        """The first signal came."""
        if answers:
            one = "1 answer has" if answers == 1 else f"{answers} answers have"
            _say(f"stopping: {one} {seconds:g} s to finish; Ctrl-C again ends at once", err=True)

    def stopped(self, unfinished: int) -> None:
        """Nothing runs any more."""
        cut = f"; {unfinished} unfinished" if unfinished else ""
        _say(f"stopped{cut}", err=True)


def _say(line: str, *, err: bool = False) -> None:
    with suppress(OSError):
        typer.echo(line, err=err)
