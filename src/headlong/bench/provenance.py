"""What a record says of its circumstances: the run, the machine, the servers, the model files."""

from __future__ import annotations

import platform
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from headlong.bench.client import Endpoint
from headlong.bench.energy import EnergyMeter
from headlong.bench.host import Host
from headlong.bench.modes import Mode
from headlong.bench.record import (
    SCHEMA,
    Arm,
    HostFacts,
    ModelFile,
    Prompt,
    Record,
    Run,
    Sample,
)
from headlong.bench.roofline import GgufFacts, read_gguf
from headlong.bench.servers import is_local
from headlong.bench.summary import summarise
from headlong.bench.verdicts import verdicts

__all__ = ["arm_facts", "host_facts", "make_record", "model_file", "new_id", "now", "run_facts"]


def now() -> str:
    """The time as a record writes it: ISO 8601, UTC, whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def new_id() -> str:
    """A name that no other run has; it begins with the date."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:6]}"


def run_facts(
    command: str,
    *,
    run_id: str,
    started: str,
    name: str = "",
    complete: bool = True,
    seed: int = 42,
    order: str = "one arm",
    notes: Sequence[str] = (),
) -> Run:
    """When, how and with what program, as of now."""
    import headlong

    return Run(
        id=run_id,
        command=command,
        name=name,
        words=(Path(sys.argv[0]).name, *sys.argv[1:]),
        started=started,
        finished=now(),
        complete=complete,
        seed=seed,
        order=order,
        headlong=headlong.__version__,
        python=platform.python_version(),
        notes=tuple(notes),
    )


def host_facts(host: Host, meter: EnergyMeter, idle_watts: float | None) -> HostFacts:
    """The machine and how its energy is read."""
    fields = asdict(host) | {
        "bandwidth": host.bandwidth.gb_per_second if host.bandwidth else None,
        "energy_source": meter.source,
        "idle_watts": idle_watts,
    }
    return HostFacts.model_validate(fields)


def arm_facts(
    name: str,
    server: str,
    mode: Mode,
    endpoint: Endpoint,
    *,
    command: str | None = None,
    dialect: str = "",
    file: ModelFile | None = None,
) -> Arm:
    """One server in one mode."""
    return Arm(
        name=name,
        server=server,
        mode=mode.name,
        draft=mode.draft,
        url=endpoint.url,
        local=is_local(endpoint.url),
        kind=endpoint.kind,
        version=endpoint.version,
        model=endpoint.model,
        command=command,
        body=dict(mode.body),
        about=dict(endpoint.about),
        dialect=dialect,
        file=file,
    )


def model_file(path: str | None) -> ModelFile | None:
    """What a GGUF file is; None without one, or for a name that is no file here."""
    if path is None or not Path(path).is_file():
        return None
    return _file_facts(read_gguf(Path(path)))


def _file_facts(facts: GgufFacts) -> ModelFile:
    return ModelFile(
        file=facts.file,
        bytes=facts.bytes,
        fingerprint=facts.fingerprint,
        architecture=facts.architecture,
        name=facts.name,
        quantisation=facts.quantisation,
        types=dict(facts.types),
        mtp_layers=facts.mtp_layers,
        mtp_types=facts.mtp_types,
        step_bytes=facts.step_bytes,
        synthetic=facts.synthetic,
    )


def make_record(
    run: Run,
    host: HostFacts,
    arms: Sequence[Arm],
    prompts: Sequence[Prompt],
    samples: Sequence[Sample],
    *,
    more: Sequence[str] = (),
) -> Record:
    """A whole record: rows and verdicts are computed from the samples.

    Args:
        more: verdicts of the command's own.
    """
    # Memory of a card is another than the one that was probed.
    bandwidth = None if host.gpus else host.bandwidth
    rows = summarise(arms, prompts, samples, bandwidth=bandwidth, idle_watts=host.idle_watts)
    return Record(
        schema=SCHEMA,
        run=run,
        host=host,
        arms=tuple(arms),
        prompts=tuple(prompts),
        samples=tuple(samples),
        rows=rows,
        verdicts=(*more, *verdicts(arms, rows, samples)),
    )
