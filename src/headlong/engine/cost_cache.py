"""What passes cost, remembered between runs: one small file per machine and model.

Measuring takes half a second and knows passes of a lone sequence only; live rounds know better.
What they taught is kept, so that the next run begins with it and only checks whether the machine
is as fast as it was.  Nothing depends on these files: they may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Final

from headlong import __version__
from headlong.ops.cpu import CpuOps, available_cores
from headlong.ops.processor import processor_name
from headlong.speculation.costs import ContextCost, CostRecord, PassRecord

SCHEMA: Final = 1
VARIABLE: Final = "HEADLONG_CACHE"
"""Environment: the folder of the files; "off" keeps none."""

_LARGEST: Final = 1 << 16  # bytes; a file of ours has some 2,000


@dataclass(frozen=True, slots=True)
class CostKey:
    """What costs depend on; a file is only believed where all of it is the same."""

    processor: str
    cores: int
    isa: str
    threads: int
    model: str  # `LoadedModel.fingerprint`
    kv_type: str
    headlong: str

    @property
    def name(self) -> str:
        """Name of the file."""
        text = json.dumps(asdict(self), sort_keys=True)
        return f"costs-{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The folder for such files as the system has it; None where the user wants none."""
    own = environment.get(VARIABLE)
    if own is not None:
        return None if own.strip().lower() in ("", "off", "0", "none") else Path(own).expanduser()
    if sys.platform == "win32":
        base = environment.get("LOCALAPPDATA")
        return Path(base) / "headlong" if base else None
    if environment.get("XDG_CACHE_HOME"):
        return Path(environment["XDG_CACHE_HOME"]) / "headlong"
    with suppress(RuntimeError):  # a user without a home
        home = Path.home()
        return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "headlong"
    return None


class CostCache:
    """The file of one key."""

    def __init__(self, folder: Path, key: CostKey) -> None:
        self.path: Final = folder / key.name
        self._key = key

    def load(self) -> CostRecord | None:
        """What is known; None for a file that is missing, damaged, or another's."""
        try:
            with self.path.open("rb") as file:
                text = file.read(_LARGEST + 1)
            return _parse(text, self._key) if len(text) <= _LARGEST else None
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None

    def save(self, record: CostRecord) -> bool:
        """Replace the file whole; False where the folder cannot be written."""
        fields = {"schema": SCHEMA, "key": asdict(self._key), "costs": asdict(record)}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=".costs-")
        except OSError:
            return False
        try:
            with os.fdopen(descriptor, "w") as file:
                json.dump(fields, file, indent=1)
            Path(name).replace(self.path)
        except OSError:
            with suppress(OSError):
                Path(name).unlink()
            return False
        return True

    def improve(self, record: CostRecord) -> bool:
        """Save what was learned if it rests on as many live passes as the file does, and some.

        Returns whether it was saved.
        """
        known = self.load()
        enough = LESSONS if known is None else max(LESSONS, known.lessons)
        return record.lessons >= enough and self.save(record)


def cost_cache(ops: CpuOps, fingerprint: str, kv_type: str) -> CostCache | None:
    """The file for a model (`LoadedModel.fingerprint`) on this machine; None where none is kept."""
    folder = cache_folder()
    if folder is None:
        return None
    key = CostKey(
        processor=processor_name(),
        cores=available_cores(),
        isa=ops.isa,
        threads=ops.threads,
        model=fingerprint,
        kv_type=kv_type,
        headlong=__version__,
    )
    return CostCache(folder, key)


LESSONS: Final = 64
"""Live passes that a table must have seen to be worth keeping."""


def _parse(text: bytes, key: CostKey) -> CostRecord:
    """Raises `ValueError`, `TypeError` or `KeyError` for anything else than our own file."""
    fields = json.loads(text)
    found, expected = [fields["schema"], fields["key"]], [SCHEMA, asdict(key)]
    if json.dumps(found, sort_keys=True) != json.dumps(expected, sort_keys=True):
        raise ValueError("another schema, machine or model")
    costs = fields["costs"]
    passes = tuple(PassRecord(**one) for one in costs.pop("passes"))
    context = costs.pop("context")
    if context.keys() != {field.name for field in dataclass_fields(ContextCost)}:
        raise ValueError("another context")
    return CostRecord(passes=passes, context=ContextCost(**context), **costs).checked()
