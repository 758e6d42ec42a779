"""Write a rehearsal file: a model of real dimensions whose next token and acceptance are known."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headlong.errors import GGUFError, ParameterError
from headlong.gguf.names import EMBEDDING, OUTPUT, ExpectedTensor, expected_tensors
from headlong.gguf.types import GGMLType
from headlong.gguf.writer import GGUFWriter
from headlong.models.rehearsal import Rehearsal
from headlong.progress import Progress, Silent, Stage
from headlong.tokenizer import Vocabulary
from headlong.tools.synth.chain import Chain, make_chain
from headlong.tools.synth.metadata import add_metadata
from headlong.tools.synth.mixes import Mix, Place
from headlong.tools.synth.recipe import Recipe, generator
from headlong.tools.synth.sizes import Size
from headlong.tools.synth.tables import PART, Parts, make_codes
from headlong.tools.synth.vocabulary import make_vocabulary

__all__ = ["TensorPlan", "Written", "plan_tensors", "recipe_for", "write_rehearsal"]

_MARGIN: Final = 32 << 20
"""Bytes a file takes besides its tensors, at most: the vocabulary is 12 MB."""


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """One tensor of the file."""

    name: str
    shape: tuple[int, ...]  # ne0 first
    type: GGMLType

    @property
    def nbytes(self) -> int:
        """Bytes of its data."""
        return self.type.row_bytes(self.shape[0]) * prod(self.shape[1:])


@dataclass(frozen=True, slots=True)
class Written:
    """A rehearsal file and what is known of it."""

    path: Path
    bytes: int
    chain: Chain


def plan_tensors(size: Size, mix: Mix) -> list[TensorPlan]:
    """Names, shapes and types of all tensors, in the order of the file.

    Raises:
        GGUFError: a row of some matrix does not fit the blocks of its type.
    """
    blocks = size.layers + 1
    listed = [one for one in expected_tensors(size.shapes, size.recurrent, 1) if _stored(one, size)]
    plans, attention = [], 0
    for one in listed:
        block = int(one.name.split(".")[1]) if one.name.startswith("blk.") else 0
        place = Place(one.name, len(one.shape), block, blocks, attention, size.tied)
        attention += one.name.endswith("attn_v.weight")
        plan = TensorPlan(one.name, one.shape, mix.type_of(place))
        plan.type.row_bytes(plan.shape[0])
        plans.append(plan)
    return plans


def _stored(tensor: ExpectedTensor, size: Size) -> bool:
    if tensor.name == OUTPUT:
        return not size.tied
    return not tensor.optional or tensor.name.endswith("shared_head_norm.weight")


def write_rehearsal(
    path: str | os.PathLike[str],
    size: Size,
    mix: Mix,
    rehearsal: Rehearsal,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Written:
    """Write the file; the same arguments give the same bytes.

    Args:
        path: where to; put in place only when it is whole.
        size, mix: dimensions and types of the tensors.
        rehearsal: how often drafts are right, and the seed.
        overwrite: replace a file that is there.
        progress: told the bytes written.

    Raises:
        ParameterError: the size cannot be rehearsed, or the file is there and is not to be
            replaced.
        GGUFError: a row does not fit the blocks of its type, there is not enough space, or writing
            fails; nothing is left behind.
    """
    path = Path(path)
    if size.shapes.hidden % PART or size.shapes.hidden < 4 * PART:
        raise ParameterError(
            f"a hidden size of {size.shapes.hidden} cannot be rehearsed: it must be a multiple of "
            f"{PART} and at least {4 * PART}."
        )
    if path.exists() and not overwrite:
        raise ParameterError(
            f"{path} is there already; choose another name, or --force to replace it."
        )
    plans = plan_tensors(size, mix)
    total = sum(plan.nbytes for plan in plans)
    _check_space(path, total + _MARGIN)
    recipe, vocabulary = recipe_for(size, plans, rehearsal)
    writer = GGUFWriter(path)
    add_metadata(writer, size, mix, vocabulary, rehearsal)
    with (progress or Silent()).stage("writing", total, "B") as stage:
        for plan in plans:
            writer.add_tensor_stream(plan.name, _Pieces(recipe, plan, stage), plan.type, plan.shape)
        return Written(path, writer.write(), recipe.chain)


def recipe_for(
    size: Size, plans: list[TensorPlan], rehearsal: Rehearsal
) -> tuple[Recipe, Vocabulary]:
    """What makes the tensors of the plans, and the vocabulary that goes with them.

    Raises:
        ParameterError: the size's vocabulary is too small.
    """
    made_up, seed = make_vocabulary(size.shapes.vocab), rehearsal.seed
    rng = generator(seed, "chain")
    chain = make_chain(made_up.words, size.shapes.vocab, rehearsal.accept, rng)
    types = {plan.name: plan.type for plan in plans}
    embedding = types[EMBEDDING]
    parts = Parts.of(size.shapes.hidden)
    tables = (embedding, types.get(OUTPUT, embedding))
    codes = make_codes(parts, chain, tables, generator(seed, "codes"))
    return Recipe(size, chain, parts, codes, seed), made_up.vocabulary


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Draws a tensor when the writer asks for it, and reports its bytes."""

    recipe: Recipe
    plan: TensorPlan
    stage: Stage

    def __call__(self) -> Iterator[NDArray[np.uint8]]:
        plan = self.plan
        if len(plan.shape) == 1 or plan.name.endswith("ssm_conv1d.weight"):
            pieces = iter([self.recipe.vector(plan.name, plan.shape).view(np.uint8)])
        else:
            pieces = self.recipe.matrix(plan.name, plan.type, plan.shape[1], plan.shape[0])
        for piece in pieces:
            yield piece
            self.stage.advance(piece.nbytes)


def _check_space(path: Path, needed: int) -> None:
    folder = path.absolute().parent
    if not folder.is_dir():
        raise GGUFError(f"cannot write {path}: there is no folder {folder}.")
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise GGUFError(
            f"{path} takes {needed / 1e9:.1f} GB, but {folder} has only {free / 1e9:.1f} GB free; "
            "choose another folder, a smaller size or a smaller weight type."
        )
