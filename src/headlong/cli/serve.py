"""`headlong serve`: an HTTP server for one model, and a chat page."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from headlong.cli.model_file import local_file
from headlong.cli.options import flag_named, llm_flag_named
from headlong.cli.progress_bars import progress_on
from headlong.cli.prompt_text import read_text
from headlong.cli.serve_report import Report, plan_lines
from headlong.cli.setting_flags import SettingFlags, with_setting_flags
from headlong.errors import ParameterError, UnsupportedError
from headlong.server.settings import ServerSettings
from headlong.server.settings_sources import config_file, read_settings
from headlong.server.settings_text import settings_toml

if TYPE_CHECKING:
    from headlong.llm import LLM
    from headlong.progress import Progress
    from headlong.tools.memory_plan import MemoryPlan

__all__ = ["command"]

_MIB: Final = 1 << 20


@with_setting_flags
def command(flags: SettingFlags) -> None:
    """Serve a model over HTTP: OpenAI's and llama-server's dialects, and a chat page.

    Every setting is a flag, a variable (--ctx-size is HEADLONG_CTX_SIZE) and a key of a TOML file
    (ctx-size); flags count first, then variables, then the file.  Ctrl-C lets running answers
    finish; a second one ends at once.
    """
    settings = read_settings(flags.given, os.environ, flags.config)
    if flags.print_config:
        typer.echo(settings_toml(settings), nl=False)
        return
    file = config_file(flags.config, os.environ)
    if file is not None:
        typer.echo(f"settings from {file}", err=True)
    if settings.model is None:
        raise ParameterError(
            "no model is given; name a GGUF file or hf:user/repo[:QUANT], or set HEADLONG_MODEL."
        )
    # Files and the port are looked at before a download, not after it.
    open_to_all = not settings.api_keys and not settings.loopback
    template = _template(settings)
    _check_port(settings)
    progress = progress_on()
    path = local_file(settings.model, progress)
    plan = _plan(path, settings)
    for line in plan_lines(plan, settings):
        typer.echo(line, err=True)
    if open_to_all:
        typer.secho(
            f"warning: {settings.host} can be reached from other machines, and no key is asked "
            "for; give one with --api-key-file, or listen on 127.0.0.1",
            err=True,
            fg=typer.colors.YELLOW,
        )
    raise typer.Exit(_serve(path, settings, plan, template, progress))


def _template(settings: ServerSettings) -> str | None:
    """The source of the chat template that was given."""
    with flag_named("--chat-template-file"):
        file = settings.chat_template_file
        return None if file is None else read_text(file)


def _check_port(settings: ServerSettings) -> None:
    """Raise what listening will raise."""
    from headlong.server.listening import listen

    listen(settings.host, settings.port).close()


def _plan(path: Path, settings: ServerSettings) -> MemoryPlan:
    """What will be loaded, in which memory; refuses what cannot be."""
    from headlong.tools.available_memory import available_memory
    from headlong.tools.memory_plan import Wishes, plan_memory, read_needs

    needs = read_needs(
        path,
        kv_type=settings.cache_type,
        mtp=settings.spec_type != "none",
        prefill_rows=settings.ubatch_size,
    )
    drafting = settings.drafting_flag
    if not needs.has_head and drafting is not None:
        raise UnsupportedError(
            f"{path} has no MTP head to draft with; leave {drafting} out, or serve a file that "
            "has one ('headlong inspect' tells)."
        )
    prefix_cache = None if settings.cache_ram is None else settings.cache_ram * _MIB
    wishes = Wishes(
        context=settings.ctx_size,
        slots=settings.parallel,
        prefix_cache=prefix_cache if settings.cache_prompt else 0,
        fit=settings.fit,
    )
    return plan_memory(needs, wishes, available_memory())


def _serve(
    path: Path,
    settings: ServerSettings,
    plan: MemoryPlan,
    template: str | None,
    progress: Progress,
) -> int:
    from headlong.server.running import run_server

    def load(progress: Progress) -> LLM:
        from headlong.llm import LLM
        from headlong.tokenizer import ChatTemplate

        with llm_flag_named():
            llm = LLM(
                path,
                context=plan.context,
                sequences=plan.slots,
                threads=settings.threads,
                spec_type=settings.spec_type,
                draft_n_max=settings.draft_n_max,
                kv_type=settings.cache_type,
                isa=settings.isa,
                prefill_rows=settings.ubatch_size,
                cache_ram=plan.prefix_cache // _MIB,
                progress=progress,
            )
        if template is not None:
            ChatTemplate.for_tokenizer(llm.tokenizer, source=template)  # raises if it is broken
        return llm

    effective = settings
    chosen = {
        "ctx_size": plan.context,
        "parallel": plan.slots,
        "cache_ram": plan.prefix_cache // _MIB,
    }
    for name, value in chosen.items():
        if getattr(settings, name) != value:
            effective = effective.changed("chosen by available memory", **{name: value})
    report = Report(effective, plan, str(path))
    with _logs(settings.log_level):
        return run_server(effective, load, events=report, progress=progress)


@contextmanager
def _logs(level: str) -> Iterator[None]:
    """Inside, the server's lines and what goes wrong elsewhere go to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S")
    )
    root, own = logging.getLogger(), logging.getLogger("headlong")
    before = own.level
    root.addHandler(handler)
    own.setLevel(level.upper())
    try:
        yield
    finally:
        own.setLevel(before)
        root.removeHandler(handler)
