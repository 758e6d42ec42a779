"""What a session took, as a record: the same file as of a matrix, for the same reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from headlong.bench.dialects import dialect_of
from headlong.bench.energy import open_meter
from headlong.bench.host import describe_host
from headlong.bench.provenance import (
    arm_facts,
    host_facts,
    make_record,
    model_file,
    new_id,
    run_facts,
)
from headlong.bench.record import Record
from headlong.bench.samples import prompt_of, sample_of
from headlong.bench.session import Arm, Taking

__all__ = ["session_record"]


def session_record(
    command: str,
    taking: Taking,
    arms: Sequence[Arm],
    *,
    started: str,
    seed: int,
    file: str | None = None,
    verdicts: Sequence[str] = (),
) -> Record:
    """Make a record.

    Args:
        command: ``mtp``, ``compare``, ``sweep``, ``long`` or ``lossless``.
        arms: in the order in which a report shows them.
        started: when, as `headlong.bench.provenance.now` writes it.
        file: the GGUF file that the servers have open, if the user gave it.
        verdicts: sentences of the command's own.

    Raises:
        GGUFError: ``file`` is no GGUF file.
    """
    facts = model_file(file)
    told = []
    for arm in arms:
        dialect = dialect_of([one.record for one in taking.of(arm)])
        told.append(
            arm_facts(
                arm.name,
                arm.peer or arm.server.url,
                arm.mode,
                arm.server,
                dialect=dialect.line() if dialect else "",
                file=facts,
            )
        )
    samples = [
        sample_of(
            one.record,
            one.ask.workload,
            arm=one.ask.arm.name,
            cache="warm" if one.ask.options.warm else "cold",
            repeat=one.ask.repeat,
            turn=turn,
        )
        for turn, one in enumerate(taking.taken)
    ]
    prompts = [prompt_of(one) for one in dict.fromkeys(t.ask.workload for t in taking.taken)]
    with open_meter() as meter:
        # Energy is of whole rounds and read by `speed` alone; here only its source is told.
        host = host_facts(replace(describe_host(), bandwidth=None), meter, None)
    run = run_facts(
        command,
        run_id=new_id(),
        started=started,
        complete=not taking.interrupted,
        seed=seed,
        order="in turns" if len(arms) > 1 else "one arm",
    )
    return make_record(run, host, told, prompts, samples, more=verdicts)
