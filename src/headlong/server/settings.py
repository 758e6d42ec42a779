"""Every setting of the server, declared once: its type, default, flag, limits and meaning.

The command line's flags, the ``HEADLONG_*`` variables, the keys of a configuration file and what
``/props`` shows are all made from the fields of `ServerSettings`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from headlong.errors import ParameterError
from headlong.server.setting_kinds import Choice, Files, Kind, Number, Switch, Text, Texts, Whole

__all__ = ["PREFIX", "Declared", "ModelName", "ServerSettings", "declared_settings"]

PREFIX: Final = "HEADLONG_"
"""In front of a setting's name in capitals: its environment variable."""

MODEL: Final = "Model"
SPECULATION: Final = "Speculation (never changes the text)"
MEMORY: Final = "Slots and memory"
NETWORK: Final = "Network and access"
ANSWERS: Final = "Answers"
LIMITS: Final = "Limits and times"
LOGS: Final = "Logs"

_LARGEST: Final = 1 << 30
_DAY: Final = 86400.0
_ORIGIN: Final = re.compile(r"https?://[^\s/?#@]+", re.ASCII)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Declared:
    """What is known of one setting besides its type and default."""

    name: str  # of the field; with dashes: of the flag and of the TOML key
    default: object
    kind: Kind[object]
    flags: tuple[str, ...]  # all names
    group: str
    help: str
    shown_default: str | None  # in words, where the value does not say it
    secret: bool
    one_value: bool  # flags given several times must agree

    @property
    def key(self) -> str:
        """The key in a configuration file: the flag without its dashes."""
        return self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return PREFIX + self.name.upper()

    @property
    def flag(self) -> str:
        """The flag by its long name."""
        return f"--{self.key}"


def _setting(
    default: T,
    kind: Kind[object],
    *flags: str,
    group: str,
    help: str,
    shown_default: str | None = None,
    secret: bool = False,
    one_value: bool = False,
) -> T:
    """A field of `ServerSettings`; ``flags`` besides the long one made of its name."""
    about = {
        "kind": kind,
        "flags": flags,
        "group": group,
        "help": help,
        "shown_default": shown_default,
        "secret": secret,
        "one_value": one_value,
    }
    made: T = field(default=default, metadata=about)
    return made


@dataclass(frozen=True, slots=True)
class ModelName:
    """A GGUF file, or ``hf:user/repo[:QUANT]``, which no folder is put in front of."""

    metavar: str = "FILE"

    def parse(self, text: str) -> str:
        """A value from text."""
        return Text().parse(text)

    def check(self, value: object, folder: Path) -> str:
        """A value from TOML."""
        name = Text().check(value, folder)
        return name if name.startswith("hf:") else str(folder / name)


def _accept_key(key: str) -> None:
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ParameterError("a key consists of visible ASCII characters without spaces.")


def _accept_origin(origin: str) -> None:
    if origin != "*" and not _ORIGIN.fullmatch(origin):
        raise ParameterError(
            f"'{origin[:80]}' is not an origin; give one as 'https://example.org', without a "
            "path, or '*'."
        )


def _accept_host(host: str) -> None:
    if not host.isascii() or not host.isprintable() or set(host) & set(" /[]"):
        raise ParameterError(f"'{host[:80]}' is not a host name or address, as 127.0.0.1 or ::1.")


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """All settings in effect.

    None stands for "chosen at the start" where a number could be, and for "none" elsewhere.  Times
    are in seconds.
    """

    # --- Model

    model: str | None = _setting(
        None, ModelName(), "-m", group=MODEL,
        help="GGUF file (of a split model, any part), or hf:user/repo[:QUANT] to download one.",
    )  # fmt: skip
    alias: tuple[str, ...] = _setting(
        (), Texts(Text()), "-a", group=MODEL,
        help="Names of the model in the API, the first in /v1/models.",
        shown_default="the file's name",
    )  # fmt: skip
    accept_any_model: bool = _setting(
        True, Switch(), group=MODEL,
        help="Answer requests that name another model, instead of 404.",
    )  # fmt: skip
    threads: int | None = _setting(
        None, Whole(1, 1024, "auto"), "-t", group=MODEL,
        help="Threads that compute.", shown_default="the processors this process may use",
    )  # fmt: skip
    cache_type: str = _setting(
        "f16", Choice(("f16", "q8_0")), "-ctk", "--cache-type-k", "-ctv", "--cache-type-v",
        group=MODEL, help="Number format of the KV cache: f16 or q8_0.", one_value=True,
    )  # fmt: skip
    ubatch_size: int = _setting(
        256, Whole(1, 8192), "-ub", group=MODEL, help="Prompt tokens per pass."
    )
    isa: str | None = _setting(
        None, Text("NAME"), group=MODEL, help="Instruction set of the kernels, for comparisons.",
        shown_default="the fastest of this machine",
    )  # fmt: skip

    # --- Speculation

    spec_type: str = _setting(
        "draft-mtp", Choice(("draft-mtp", "none")), group=SPECULATION,
        help="draft-mtp: draft with the file's MTP head, if it has one; none: do not load it.",
    )  # fmt: skip
    spec_draft_n_max: int | None = _setting(
        None, Whole(0, 15, "auto"), group=SPECULATION,
        help="Draft length; auto: chosen by measured costs and acceptance.", shown_default="auto",
    )  # fmt: skip

    # --- Slots and memory

    ctx_size: int | None = _setting(
        None, Whole(2, _LARGEST, "auto"), "-c", group=MEMORY,
        help="Context of each slot: most tokens of prompt and answer together.",
        shown_default="32768, or less where memory or the model asks for it",
    )  # fmt: skip
    parallel: int | None = _setting(
        None, Whole(1, 256, "auto"), "-np", group=MEMORY,
        help="Slots: how many answers are written at once; others wait.",
        shown_default="as many as memory has room for, up to 8",
    )  # fmt: skip
    fit: bool = _setting(
        True, Switch(valued=True), "-fit", group=MEMORY,
        help="Shrink context and slots to the memory there is; off: refuse to start instead.",
    )  # fmt: skip
    cache_prompt: bool = _setting(
        True, Switch(), group=MEMORY,
        help="Keep what prompts have in common, so that it is read once.",
    )  # fmt: skip
    cache_ram: int | None = _setting(
        None, Whole(0, 1 << 24, "auto", "MiB"), "-cram", group=MEMORY,
        help="Memory for kept prompts, MiB.",
        shown_default="a quarter of what the weights leave, up to 2048",
    )  # fmt: skip

    # --- Network and access

    host: str = _setting(
        "127.0.0.1", Text("HOST", _accept_host), group=NETWORK,
        help="Address to listen on; 0.0.0.0 is every address of the machine.",
    )  # fmt: skip
    port: int = _setting(
        8080, Whole(0, 65535), group=NETWORK, help="Port to listen on; 0 takes a free one."
    )
    api_key: tuple[str, ...] = _setting(
        (), Texts(Text("KEY", _accept_key), "KEY,..."), group=NETWORK, secret=True,
        help="Keys, one of which every request but /health must carry.",
        shown_default="none is asked for",
    )  # fmt: skip
    api_key_file: Path | None = _setting(  # noqa: RUF009
        None, Files(), group=NETWORK, help="A file of more keys, one in a line.",
    )  # fmt: skip
    cors_origins: tuple[str, ...] = _setting(
        (), Texts(Text("ORIGIN", _accept_origin), "ORIGIN,..."), group=NETWORK,
        help="Web pages that may ask from a browser, as https://example.org; '*': all.",
        shown_default="none but the chat page",
    )  # fmt: skip

    # --- Answers

    chat_template_file: Path | None = _setting(  # noqa: RUF009
        None, Files(), group=ANSWERS,
        help="A Jinja template instead of the one in the model's file.",
    )  # fmt: skip
    reasoning_format: str = _setting(
        "deepseek", Choice(("deepseek", "none")), group=ANSWERS,
        help="deepseek: reasoning apart in reasoning_content; none: left in content.",
    )  # fmt: skip
    stream_per_token: bool = _setting(
        False, Switch(), group=ANSWERS,
        help="Stream an event for every token, instead of one for every round.",
    )  # fmt: skip

    # --- Limits and times

    max_request_size: int = _setting(
        16, Whole(1, 1024, unit="MiB"), group=LIMITS, help="Largest request body, MiB."
    )
    queue_limit: int = _setting(
        64, Whole(0, 100_000), group=LIMITS,
        help="Answers that may wait for a slot; further requests get 429.",
    )  # fmt: skip
    queue_timeout: float = _setting(
        300.0, Number(0, _DAY, "seconds"), group=LIMITS,
        help="Longest wait for a slot; 0: for ever.",
    )  # fmt: skip
    timeout: float = _setting(
        3600.0, Number(0, _DAY, "seconds"), "-to", group=LIMITS,
        help="Longest time from request to the end of its answer; 0: for ever.",
    )  # fmt: skip
    keep_alive: float = _setting(
        10.0, Number(0, 3600, "seconds"), "--sse-ping-interval", group=LIMITS,
        help="Silence in a stream after which a comment is sent; 0: none.",
    )  # fmt: skip
    shutdown_grace: float = _setting(
        30.0, Number(0, 3600, "seconds"), group=LIMITS,
        help="At the end, time for running answers to finish.",
    )  # fmt: skip

    # --- Logs

    log_level: str = _setting(
        "info", Choice(("error", "warning", "info", "debug"), "LEVEL"), group=LOGS,
        help="error, warning, info (a line for every request) or debug.",
    )  # fmt: skip
    log_prompts: bool = _setting(
        False, Switch(), group=LOGS, help="Write prompts and answers into the log."
    )

    # --- Where they came from

    origins: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """For fields that were set, where, in words."""

    def changed(self, origin: str, **values: object) -> ServerSettings:
        """With some values set by the program, e.g. because of what memory there is."""
        origins = {**self.origins, **dict.fromkeys(values, origin)}
        return replace(self, **values, origins=origins)  # type: ignore[arg-type]

    def origin(self, name: str) -> str:
        """Where the value of a field came from."""
        return self.origins.get(name, "default")

    @property
    def api_keys(self) -> tuple[str, ...]:
        """Keys that are accepted; none are needed where it is empty.

        Raises `ParameterError` or `OSError` for a file of keys that cannot be read.
        """
        if self.api_key_file is None:
            return self.api_key
        return self.api_key + _read_keys(self.api_key_file)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def draft_n_max(self) -> int | str:
        """The draft length as `LLM` takes it."""
        return "auto" if self.spec_draft_n_max is None else self.spec_draft_n_max

    @property
    def drafting_flag(self) -> str | None:
        """The setting by which drafts were asked for, if one was."""
        if self.spec_draft_n_max:
            return f"--spec-draft-n-max {self.spec_draft_n_max}"
        if "spec_type" in self.origins and self.spec_type != "none":
            return f"--spec-type {self.spec_type}"
        return None

    def check(self) -> None:
        """Raises `ParameterError` for settings that contradict each other."""
        if self.spec_type == "none" and self.spec_draft_n_max:
            raise ParameterError(
                f"spec-draft-n-max = {self.spec_draft_n_max} drafts with the MTP head, which "
                "spec-type = none leaves out; give one of them."
            )
        if not self.cache_prompt and self.cache_ram:
            raise ParameterError(
                f"cache-ram = {self.cache_ram} is memory for kept prompts, which cache-prompt = "
                "off does without; give one of them."
            )


def declared_settings() -> tuple[Declared, ...]:
    """All settings, in the order in which they are listed."""
    return tuple(_declared())


def _declared() -> Iterator[Declared]:
    for one in fields(ServerSettings):
        if not one.metadata:
            continue
        about: dict[str, Any] = dict(one.metadata)
        long = "--" + one.name.replace("_", "-")
        flags = about.pop("flags")
        yield Declared(name=one.name, default=one.default, flags=_ordered(long, flags), **about)


def _ordered(long: str, others: Iterable[str]) -> tuple[str, ...]:
    """Short names first, as a list of flags shows them; then the one that errors use."""
    names = (long, *others)
    return tuple(sorted(names, key=lambda flag: flag.startswith("--")))


_MOST_KEY_BYTES: Final = 1 << 20


def _read_keys(path: Path) -> tuple[str, ...]:
    with path.open("rb") as file:
        data = file.read(_MOST_KEY_BYTES + 1)
    if len(data) > _MOST_KEY_BYTES:
        raise ParameterError(f"{path}: holds more than {_MOST_KEY_BYTES >> 20} MiB of keys.")
    keys = []
    for number, line in enumerate(data.decode("ascii", "replace").splitlines(), 1):
        key = line.strip()
        if not key or key.startswith("#"):
            continue
        try:
            _accept_key(key)
        except ParameterError as error:
            raise ParameterError(f"{path}, line {number}: {error}") from None
        keys.append(key)
    if not keys:
        raise ParameterError(f"{path}: holds no key; write one in a line.")
    return tuple(keys)
