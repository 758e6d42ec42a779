"""Memory and bytes per step against the figures of released models, and by hand on small ones."""

from math import prod

import pytest

from headlong.gguf import BlockShapes, ExpertShapes, GGMLType, TensorInfo
from headlong.gguf.names import EMBEDDING, OUTPUT
from headlong.tools.footprint import MemoryNeed, ModelSizes, StepBytes

VOCAB = 248_320


def sizes(
    hidden: int,
    layers: int,
    kv_heads: int,
    value_heads: int,
    experts: ExpertShapes | None = None,
    mtp: int = 1,
) -> ModelSizes:
    return ModelSizes(
        context=262_144,
        recurrent=tuple((index + 1) % 4 != 0 for index in range(layers)),
        mtp_layers=mtp,
        experts_used=8 if experts else 0,
        blocks=BlockShapes(
            VOCAB, hidden, 4 * hidden, 8, kv_heads, 256, 16, value_heads, 128, 4, experts
        ),
    )


# KV KiB per token of trunk and head, and MiB of recurrent state.
@pytest.mark.parametrize(
    ("model", "trunk", "head", "state"),
    [
        (sizes(2048, 24, 2, 16), 12, 2, 19.3),
        (sizes(2560, 32, 4, 32), 32, 4, 50.3),
        (sizes(5120, 64, 4, 48), 64, 4, 149.6),
        (sizes(2048, 40, 2, 32), 20, 2, 62.8),
        (sizes(4096, 60, 2, 64), 30, 2, 186.3),
    ],
)
def test_released_models(model: ModelSizes, trunk: int, head: int, state: float) -> None:
    assert model.kv_bytes(model.attention_layers, 1) == trunk * 1024
    assert model.kv_bytes(model.mtp_layers, 1) == head * 1024
    assert model.state_bytes / 2**20 == pytest.approx(state, abs=0.05)
    assert model.layers == model.delta_layers + model.attention_layers
    assert list(model.mtp_blocks) == [model.layers]


def tensors(*named: tuple[str, tuple[int, ...], GGMLType]) -> dict[str, TensorInfo]:
    return {
        name: TensorInfo(name, shape, kind, 0, kind.row_bytes(shape[0]) * prod(shape[1:]))
        for name, shape, kind in named
    }


MODEL = sizes(256, 4, 2, 16)
TABLE = (EMBEDDING, (256, 1000), GGMLType.Q8_0)
HEAD = (OUTPUT, (256, 1000), GGMLType.Q6_K)
TRUNK = ("blk.0.ffn_up.weight", (256, 1024), GGMLType.Q4_K)
MTP = ("blk.4.ffn_up.weight", (256, 1024), GGMLType.Q8_0)
ROW = 272  # 256 elements of Q8_0


def test_memory_is_everything_that_must_be_held() -> None:
    need = MemoryNeed.of(MODEL, tensors(TABLE, HEAD, TRUNK, MTP), 100, mtp=True)
    assert need.weights == 1000 * ROW + 1000 * 210 + 1024 * 144 + 1024 * ROW
    assert need.kv_trunk == need.kv_mtp == 100 * 2048
    assert need.state == MODEL.state_bytes
    assert need.total == need.weights + need.kv_trunk + need.kv_mtp + need.state
    without = MemoryNeed.of(MODEL, tensors(TABLE, HEAD, TRUNK), 100, mtp=False)
    assert without.kv_mtp == 0


def test_a_step_reads_one_row_of_a_separate_embedding() -> None:
    step = StepBytes.of(MODEL, tensors(TABLE, HEAD, TRUNK, MTP), 100, mtp=True)
    assert step.weights == ROW + 1000 * 210 + 1024 * 144
    assert step.state == 2 * MODEL.state_bytes
    assert step.kv == 100 * 2048
    assert step.total == step.weights + step.state + step.kv
    assert step.draft == 1024 * ROW + 1000 * 210 + 100 * 2048


def test_a_step_reads_all_of_a_tied_embedding() -> None:
    step = StepBytes.of(MODEL, tensors(TABLE, TRUNK), 1, mtp=False)
    assert step.weights == 1000 * ROW + 1024 * 144
    assert step.draft == 0


def test_a_step_reads_only_the_experts_it_uses() -> None:
    model = sizes(256, 4, 2, 16, ExpertShapes(64, 256, 256))
    one = ("blk.0.ffn_up_exps.weight", (256, 256, 64), GGMLType.Q4_K)
    shared = ("blk.0.ffn_up_shexp.weight", (256, 256), GGMLType.Q4_K)
    step = StepBytes.of(model, tensors(TABLE, one, shared), 1, mtp=False)
    assert step.weights == 1000 * ROW + 8 * 256 * 144 + 256 * 144
