"""What a run of the benchmark leaves behind: one versioned record, as JSON or YAML.

The classes are the schema: `json_schema` publishes it (docs/bench-record.schema.json) and `load`
checks a file against it, field by field, before anything is made of it.  Everything measured is in
the samples; the rows are what `summary.py` made of them, so that a reader needs no program.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headlong.errors import ParameterError

__all__ = [
    "SCHEMA",
    "Arm",
    "Band",
    "Cache",
    "DepthCount",
    "GpuFacts",
    "HostFacts",
    "ModelFile",
    "Prompt",
    "Record",
    "Row",
    "Run",
    "Sample",
    "json_schema",
    "load",
    "load_folder",
    "require_ending",
    "save",
]

SCHEMA: Final = "headlong.bench/1"
_ENDINGS: Final = (".json", ".yaml", ".yml")

Cache = Literal["cold", "warm"]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Run(_Part):
    """When, how and with what program it was measured."""

    id: str
    command: str = Field(description="mtp, speed, long, compare, sweep or lossless")
    name: str = Field(description="of the plan, or empty")
    words: tuple[str, ...] = Field(description="the command line")
    started: str = Field(description="ISO 8601, UTC")
    finished: str
    complete: bool = Field(description="false when it was interrupted")
    seed: int
    order: str = Field(description="how the arms were interleaved")
    headlong: str
    python: str
    notes: tuple[str, ...] = ()


class GpuFacts(_Part):
    """One card; null where its driver does not tell."""

    name: str
    memory: Count | None
    driver: str | None
    power_cap: Rate | None = Field(description="watts")
    clock: Count | None = Field(description="MHz, when the run began")
    pcie: str | None


class HostFacts(_Part):
    """The machine that measured."""

    processor: str
    cores: Count
    isa: tuple[str, ...]
    memory: Count | None
    system: str
    governor: str | None
    container: str | None
    gpus: tuple[GpuFacts, ...]
    bandwidth: Rate | None = Field(description="GB/s that all cores together read from memory")
    energy_source: str = Field(description="counters, or 'not readable'")
    idle_watts: Rate | None


class ModelFile(_Part):
    """A GGUF file, where it was given."""

    file: str
    bytes: Count
    fingerprint: Hash = Field(description="SHA-256 of size and first 16 MiB")
    architecture: str | None
    name: str | None
    quantisation: str
    types: dict[str, Count] = Field(description="bytes by tensor type")
    mtp_layers: Count
    mtp_types: tuple[str, ...]
    step_bytes: Count = Field(description="weights read for one token without drafts")
    synthetic: bool


class Arm(_Part):
    """One server in one mode."""

    name: str
    server: str
    mode: str
    draft: Count | None = Field(description="longest draft; 0 is none, null is the server's choice")
    url: str
    local: bool = Field(description="whether it ran on the machine that measured")
    kind: str
    version: str
    model: str
    command: str | None = Field(description="null where it was not started by the run")
    body: dict[str, Any] = Field(description="fields of every request that ask for the mode")
    about: dict[str, Any] = Field(description="what the server says of itself")
    dialect: str = Field(description="how its stream came")
    file: ModelFile | None


class Prompt(_Part):
    """One workload."""

    name: str
    category: str
    sha256: Hash
    max_tokens: Count
    exact_length: bool
    temperature: Rate
    seed: int


class DepthCount(_Part):
    """Drafts at one depth, from 1."""

    depth: Annotated[int, Field(ge=1)]
    drafted: Count
    accepted: Count


class Sample(_Part):
    """One answer.  Times are seconds from sending, null where they cannot be told."""

    arm: str
    workload: str
    sha256: Hash
    concurrency: Annotated[int, Field(ge=1)]
    cache: Cache
    repeat: Count
    stream: Count = Field(description="number among those of one round")
    turn: Count = Field(description="number of the round in the order of measuring")
    sent_at: float = Field(description="seconds since 1970")
    problem: str | None = Field(description="why it does not count, or null")
    t: tuple[float, ...] = Field(description="when each event was read")
    n: tuple[int | None, ...] = Field(description="tokens that each event says it holds")
    text: str
    finish_reason: str | None
    counted_by: str
    tokens: Count
    prompt_tokens: Count | None
    cached_tokens: Count | None
    ttft: Seconds | None
    latency: Seconds | None
    decode_rate: Rate | None
    e2e_rate: Rate | None
    prefill_rate: Rate | None
    step_gap_p50: Seconds | None
    step_gap_p99: Seconds | None
    steps: Count
    tokens_per_step: Rate | None
    server_tokens_per_step: Rate | None
    draft_n: Count | None
    accepted: Count | None
    by_depth: tuple[DepthCount, ...]
    joules: float | None = Field(description="of the whole round, idle power included")


class Band(_Part):
    """A figure and its 95 % interval, null below two samples."""

    value: float
    low: float | None
    high: float | None


class Row(_Part):
    """What the samples of one arm, workload, concurrency and cache state come to (medians)."""

    arm: str
    workload: str
    concurrency: Annotated[int, Field(ge=1)]
    cache: Cache
    samples: Count
    failed: Count
    tokens: Count | None
    prompt_tokens: Count | None
    cached_tokens: Count | None
    decode: Band | None = Field(description="tok/s of one stream, free of TTFT")
    e2e: Band | None = Field(description="tok/s of one stream, TTFT included")
    total: Band | None = Field(description="tok/s of all streams together")
    ttft: Band | None
    prefill: Band | None = Field(description="prompt tok/s")
    step_gap_p50: Seconds | None
    step_gap_p99: Seconds | None
    tokens_per_step: Rate | None = Field(description="L; by the server's counts where it has them")
    acceptance: Share | None
    by_depth: tuple[DepthCount, ...]
    speedup: Band | None = Field(description="decode, over the same server's plain mode")
    speedup_e2e: Band | None = Field(description="the same end to end")
    step_cost: Rate | None = Field(description="C: time between steps, by that of plain steps")
    predicted: Rate | None = Field(description="speed-up by L / C")
    break_even: Rate | None = Field(description="tokens after which the mode has won")
    joules_per_token: Rate | None
    joules_per_token_idle_off: float | None
    joules_per_accepted: Rate | None
    roofline: Rate | None = Field(description="share of the memory bandwidth, plain mode")
    diagnosis: str | None = Field(description="what limits the speed-up")
    flags: tuple[str, ...]


class Record(_Part):
    """Everything of one run."""

    schema_: Literal["headlong.bench/1"] = Field(alias="schema")
    run: Run
    host: HostFacts
    arms: tuple[Arm, ...]
    prompts: tuple[Prompt, ...]
    samples: tuple[Sample, ...]
    rows: tuple[Row, ...]
    verdicts: tuple[str, ...] = Field(description="what the figures say, in sentences")

    def arm(self, name: str) -> Arm:
        """The arm of that name."""
        return next(arm for arm in self.arms if arm.name == name)


def json_schema() -> dict[str, object]:
    """The schema of a record, JSON Schema 2020-12."""
    fields = Record.model_json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{SCHEMA.replace('/', ':')}",
        **fields,
    }


def save(record: Record, path: Path) -> None:
    """Write JSON, or YAML where the name ends so.

    Raises:
        ParameterError: the name ends otherwise.
        OSError: it cannot be written.
    """
    fields = record.model_dump(mode="json", by_alias=True)
    if _ending(path) == ".json":
        text = _lines(fields) + "\n"
    else:
        from headlong.bench.yaml_files import dump_yaml

        text = dump_yaml(fields)
    partial = path.with_name(f"{path.name}.part")  # an interrupted write leaves the old one whole
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def load(path: Path) -> Record:
    """Read and check a record.

    Raises:
        ParameterError: it is none, or of another version.
        OSError: it cannot be read.
    """
    fields = _fields(path)
    if not isinstance(fields, Mapping) or "schema" not in fields:
        raise ParameterError(f"{path} is no record of a benchmark: it has no field 'schema'")
    if fields["schema"] != SCHEMA:
        raise ParameterError(
            f"{path} is a record of schema {fields['schema']!r}; this version reads {SCHEMA!r}"
        )
    try:
        return Record.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ParameterError(f"{path}: {where}: {first['msg']}{more}") from None


def load_folder(folder: Path) -> Iterator[tuple[Path, Record]]:
    """Every record of a folder, by name; other files of these endings are an error.

    Raises:
        ParameterError: there is none, or a file is no record.
        OSError: the folder cannot be read.
    """
    if folder.is_file():
        yield folder, load(folder)
        return
    if not folder.is_dir():
        raise ParameterError(f"{folder}: no such file or folder")
    found = sorted(path for path in folder.iterdir() if path.suffix in _ENDINGS)
    if not found:
        raise ParameterError(f"{folder} holds no records (.json, .yaml)")
    for path in found:
        yield path, load(path)


def _fields(path: Path) -> object:
    if _ending(path) != ".json":
        from headlong.bench.yaml_files import parse_yaml

        return parse_yaml(path, quick=True)
    try:
        parsed: object = json.loads(path.read_bytes())
    except ValueError as error:
        raise ParameterError(f"{path} is not well formed JSON: {error}") from None
    return parsed


def _ending(path: Path) -> str:
    return require_ending(path).suffix


def require_ending(path: Path) -> Path:
    """The path, if a record can have that name.

    Raises:
        ParameterError: it ends otherwise than records do.
    """
    if path.suffix not in _ENDINGS:
        raise ParameterError(f"{path}: a record's name ends in .json, .yaml or .yml")
    return path


def _lines(value: object, indent: str = "") -> str:
    """Indented JSON in which lists of numbers take one line: a thousand stamps are one."""
    if isinstance(value, dict) and value:
        deeper = indent + " "
        items = (f"{deeper}{json.dumps(k)}: {_lines(v, deeper)}" for k, v in value.items())
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(one, dict | list | str) for one in value):
        deeper = indent + " "
        return "[\n" + ",\n".join(deeper + _lines(v, deeper) for v in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False)
