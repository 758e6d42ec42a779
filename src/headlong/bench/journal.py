"""What was measured so far, line by line on disk: an interrupted run goes on where it stopped."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from pydantic import ValidationError

from headlong.bench.record import SCHEMA, Arm, Sample
from headlong.errors import ParameterError

__all__ = ["Journal", "Kept", "open_journal"]

_ENDING: Final = ".journal"


@dataclass(frozen=True, slots=True)
class Kept:
    """What an earlier run left.

    Args:
        run_id: of the run that began it.
        started: ISO 8601, UTC.
        arms: those that were reached, by name.
        samples: those of finished rounds.
        done: keys of the finished rounds.
    """

    run_id: str
    started: str
    arms: dict[str, Arm]
    samples: tuple[Sample, ...]
    done: frozenset[str]


class Journal:
    """An open journal.  Made by `open_journal`."""

    def __init__(self, path: Path, file: IO[str], kept: Kept) -> None:
        self.path = path
        self.kept = kept
        self._file = file

    def add_arm(self, arm: Arm) -> None:
        """Keep what is known of an arm; a later line wins."""
        self._write({"arm": arm.model_dump(mode="json")})

    def add_round(self, key: str, samples: list[Sample]) -> None:
        """Keep a finished round."""
        self._write({"key": key, "samples": [one.model_dump(mode="json") for one in samples]})

    def close(self) -> None:
        """Keep the file; the run did not come to its end."""
        self._file.close()

    def remove(self) -> None:
        """The record holds everything: the journal is no longer needed."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _write(self, fields: dict[str, object]) -> None:
        self._file.write(json.dumps(fields, ensure_ascii=False) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())  # once per round, which takes seconds


def open_journal(record: Path, digest: str, run_id: str, started: str, *, fresh: bool) -> Journal:
    """Open the journal beside a record that is to be.

    Args:
        record: where the record will be written.
        digest: of the plan; what was kept of another plan is not mixed with this one.
        run_id: of a run that begins now.
        started: when it begins.
        fresh: forget what an earlier run left.

    Raises:
        ParameterError: it is of another plan, or damaged other than by a break in its last line.
        OSError: it cannot be read or written.
    """
    path = record.with_name(record.name + _ENDING)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not fresh:
        kept, size = _read(path, digest)
        if kept is not None:
            os.truncate(path, size)  # without a last line that was cut off
            return Journal(path, path.open("a", encoding="utf-8"), kept)
    journal = Journal(
        path, path.open("w", encoding="utf-8"), Kept(run_id, started, {}, (), frozenset())
    )
    journal._write({"schema": SCHEMA, "plan": digest, "id": run_id, "started": started})
    return journal


def _read(path: Path, digest: str) -> tuple[Kept | None, int]:
    """What it holds, and the bytes of whole lines; None for a file without one."""
    lines = path.read_bytes().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith(b"\n")]
    if not whole:
        return None, 0
    arms: dict[str, Arm] = {}
    samples: list[Sample] = []
    done = set()
    try:
        head = json.loads(whole[0])
        if head["schema"] != SCHEMA or head["plan"] != digest:
            raise ParameterError(
                f"{path} was left by an interrupted run of another plan; run that plan again to "
                "finish it, or add --fresh to forget it"
            )
        for line in whole[1:]:
            fields = json.loads(line)
            if "arm" in fields:
                arm = Arm.model_validate(fields["arm"])
                arms[arm.name] = arm
            else:
                done.add(str(fields["key"]))
                samples += [Sample.model_validate(one) for one in fields["samples"]]
        kept = Kept(head["id"], head["started"], arms, tuple(samples), frozenset(done))
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        if isinstance(error, ParameterError):
            raise
        raise ParameterError(f"{path} is damaged ({error}); add --fresh to begin anew") from None
    return kept, sum(map(len, whole))
