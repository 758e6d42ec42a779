"""From a path to something that runs: open, check, pack; with progress by stage.

The tokenizer is built while weights are packed: that takes one core a second for a vocabulary of
248,320, as long as packing a small model, most of which needs no interpreter.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from headlong.errors import ModelError
from headlong.gguf import GGUFFile, Metadata, open_gguf
from headlong.models.config import Qwen35Config, architecture, read_config, unknown_keys
from headlong.models.loader import Loader
from headlong.models.mtp import MTPHead
from headlong.models.qwen35 import Qwen35
from headlong.models.rehearsal import Rehearsal, read_rehearsal
from headlong.ops.protocol import Ops, W
from headlong.progress import Progress, Stage
from headlong.tokenizer import Tokenizer, Vocabulary


@dataclass(frozen=True, slots=True)
class LoadedModel(Generic[W]):
    """A model in a backend's memory, and the file's tokenizer.

    ``head`` is `None` without MTP; ``rehearsal`` is set where the weights are made up.
    ``fingerprint`` tells files apart that compute differently: names, types, shapes and sizes.
    ``size`` is that of the file, in bytes; ``parameters`` counts the weights in it.
    """

    path: Path
    trunk: Qwen35[W]
    head: MTPHead[W] | None
    tokenizer: Tokenizer
    vocabulary: Vocabulary
    rehearsal: Rehearsal | None
    fingerprint: str
    size: int
    parameters: int

    @property
    def config(self) -> Qwen35Config:
        """Sizes of the model."""
        return self.trunk.config


def load_model(
    path: Path,
    ops: Ops[W],
    progress: Progress,
    *,
    mtp: bool = True,
    check: Callable[[Qwen35Config], object] | None = None,
) -> LoadedModel[W]:
    """Open a GGUF file and pack its weights; ``mtp=False`` leaves the head in the file.

    ``check`` sees the sizes before any weight is read, and may raise.

    Raises `GGUFError`, `ModelError` or `UnsupportedError` with one sentence that names the cause.
    """
    with open_gguf(path) as file:
        config = read_config(file.metadata, _vocab_rows(file))
        if check is not None:
            check(config)
        for key in unknown_keys(file.metadata):
            progress.note(f"metadata '{key}' is not known here and has no effect")
        rehearsal = read_rehearsal(file.metadata)
        if rehearsal is not None:
            progress.note(f"{config.name}: {rehearsal}")
        has_head = config.mtp_layers > 0
        prefix = f"blk.{config.mtp_block}."
        skipped = [n for n in file.tensors if n.startswith(prefix) and not (has_head and mtp)]
        total = sum(t.nbytes for n, t in file.tensors.items() if n not in skipped)
        with ThreadPoolExecutor(1) as beside:
            building = beside.submit(_build_tokenizer, file.metadata, config.vocab)
            with progress.stage("weights", total, "B") as stage:
                loader = Loader(file, ops, _Beside(stage, building))
                trunk = Qwen35.load(loader, ops, config)
                head = MTPHead.load(loader, trunk) if has_head and mtp else None
            with progress.stage("tokenizer", 1, "") as stage:
                vocabulary, tokenizer = building.result()
                stage.advance(1)
        unused = [name for name in loader.unused() if name not in skipped]
        if unused:
            shown = ", ".join(unused[:4]) + (", ..." if len(unused) > 4 else "")
            raise ModelError(
                f"{file.path}: {len(unused)} tensors have no place in architecture "
                f"'{architecture(file.metadata)}': {shown}."
            )
        if skipped and not has_head:
            progress.note(
                f"{len(skipped)} tensors of an MTP head are in the file, but "
                f"{architecture(file.metadata)}.nextn_predict_layers is not set: head not used"
            )
    return LoadedModel(
        file.path,
        trunk,
        head,
        tokenizer,
        vocabulary,
        rehearsal,
        _fingerprint(file, config),
        file.size,
        sum(math.prod(info.shape) for info in file.tensors.values()),
    )


def _fingerprint(file: GGUFFile, config: Qwen35Config) -> str:
    digest = hashlib.sha256(repr((config, file.size)).encode())
    for name, info in file.tensors.items():
        digest.update(repr((name, info.type.name, info.shape)).encode())
    return digest.hexdigest()


def _build_tokenizer(metadata: Metadata, rows: int) -> tuple[Vocabulary, Tokenizer]:
    vocabulary = Vocabulary.from_metadata(metadata)
    if len(vocabulary.tokens) > rows:
        raise ModelError(
            f"{metadata.path}: the vocabulary has {len(vocabulary.tokens)} tokens, but "
            f"token_embd.weight only {rows} rows."
        )
    return vocabulary, Tokenizer(vocabulary)


class _Beside:
    """A stage that ends early when work done beside it has failed."""

    def __init__(self, stage: Stage, beside: Future[tuple[Vocabulary, Tokenizer]]) -> None:
        self._stage = stage
        self._beside = beside

    def advance(self, amount: int) -> None:
        """Add to the amount done; raises what the other work raised."""
        if self._beside.done():
            self._beside.result()
        self._stage.advance(amount)


def _vocab_rows(file: GGUFFile) -> int:
    info = file.tensors.get("token_embd.weight")
    if info is None:
        raise ModelError(
            f"{file.path}: tensor 'token_embd.weight' is missing; this file holds no whole model."
        )
    return info.rows
