"""Expected tensors against the counts and parameter totals of released models."""

from math import prod

import pytest

from headlong.gguf import GGMLType, TensorInfo
from headlong.gguf.names import (
    EMBEDDING,
    OUTPUT,
    BlockShapes,
    ExpectedTensor,
    ExpertShapes,
    attention_block,
    compare_tensors,
    delta_block,
    expected_tensors,
    mtp_block,
)

VOCAB = 248_320


def released(hidden: int, ffn: int, heads: int, kv_heads: int, value_heads: int) -> BlockShapes:
    """Sizes of a released dense model; the others are the same in all of them."""
    return BlockShapes(
        VOCAB,
        hidden,
        ffn,
        heads,
        kv_heads,
        256,
        key_heads=16,
        value_heads=value_heads,
        state=128,
        taps=4,
    )


SMALL = released(2048, 6144, 8, 2, 16)  # 2B
LARGE = released(5120, 17408, 24, 4, 48)  # 27B
EXPERTS = BlockShapes(
    VOCAB, 2048, 0, 16, 2, 256, 16, 32, 128, 4, ExpertShapes(256, 512, 512)
)  # 35B-A3B


def layers(count: int) -> list[bool]:
    return [(index + 1) % 4 != 0 for index in range(count)]


def required(listed: list[ExpectedTensor]) -> list[ExpectedTensor]:
    return [one for one in listed if not one.optional]


def as_file(listed: list[ExpectedTensor]) -> dict[str, TensorInfo]:
    return {
        one.name: TensorInfo(one.name, one.shape, GGMLType.F32, 0, 4 * prod(one.shape))
        for one in listed
    }


# Released files carry shared_head_norm, the large ones also output.weight: those two are optional
# in the list and counted here by hand.
@pytest.mark.parametrize(
    ("shapes", "trunk", "mtp", "extra", "count"),
    [
        (SMALL, 24, 1, 1, 335),
        (LARGE, 64, 0, 1, 851),
        (LARGE, 64, 1, 2, 866),
        (EXPERTS, 40, 1, 2, 753),
    ],
)
def test_counts_are_those_of_released_files(
    shapes: BlockShapes, trunk: int, mtp: int, extra: int, count: int
) -> None:
    assert len(required(expected_tensors(shapes, layers(trunk), mtp))) + extra == count


def test_parameters_of_the_large_mtp_block_are_those_of_the_released_one() -> None:
    listed = [one for one in mtp_block(LARGE, 64) if "embed_tokens" not in one.name]
    listed = [one for one in listed if "shared_head_head" not in one.name]
    assert len(listed) == 15
    assert sum(prod(one.shape) for one in listed) == 424_699_392


def test_names_and_shapes_of_single_tensors() -> None:
    shapes = {one.name: one.shape for one in expected_tensors(SMALL, layers(24), 1)}
    assert shapes[EMBEDDING] == (2048, VOCAB)
    assert shapes["blk.0.attn_qkv.weight"] == (2048, 6144)
    assert shapes["blk.0.ssm_conv1d.weight"] == (4, 6144)
    assert shapes["blk.0.ssm_a"] == (16,)
    assert shapes["blk.0.ssm_dt.bias"] == (16,)
    assert shapes["blk.0.ssm_out.weight"] == (2048, 2048)
    assert shapes["blk.3.attn_q.weight"] == (2048, 4096)
    assert shapes["blk.3.attn_output.weight"] == (2048, 2048)
    assert shapes["blk.24.nextn.eh_proj.weight"] == (4096, 2048)
    assert shapes["blk.24.ffn_down.weight"] == (6144, 2048)
    assert "blk.0.attn_q.weight" not in shapes
    assert "blk.3.ssm_a" not in shapes


def test_a_whole_file_has_no_problems() -> None:
    listed = required(expected_tensors(SMALL, layers(24), 1))
    difference = compare_tensors(expected_tensors(SMALL, layers(24), 1), as_file(listed))
    assert difference.problems() == []
    assert difference.unexpected == ()


def test_missing_misshapen_and_unexpected_tensors_are_named() -> None:
    listed = expected_tensors(SMALL, layers(4), 0)
    found = as_file(required(listed))
    del found["blk.2.ssm_out.weight"]
    found["blk.3.attn_k.weight"] = TensorInfo("x", (2048, 511), GGMLType.F32, 0, 0)
    found["blk.9.strange.weight"] = TensorInfo("x", (1,), GGMLType.F32, 0, 4)
    difference = compare_tensors(listed, found)
    assert difference.problems() == [
        "tensor blk.2.ssm_out.weight [2048, 2048] is missing",
        "tensor blk.3.attn_k.weight has shape [2048, 511] instead of [2048, 512]",
    ]
    assert difference.unexpected == ("blk.9.strange.weight",)


def test_optional_tensors_are_known_and_checked_where_present() -> None:
    listed = expected_tensors(SMALL, layers(4), 0)
    found = as_file(required(listed))
    found[OUTPUT] = TensorInfo(OUTPUT, (2048, VOCAB), GGMLType.F32, 0, 0)
    assert compare_tensors(listed, found).unexpected == ()
    found[OUTPUT] = TensorInfo(OUTPUT, (2048, 7), GGMLType.F32, 0, 0)
    assert [one.name for one, _ in compare_tensors(listed, found).misshapen] == [OUTPUT]


def test_a_fused_tensor_stands_for_its_parts() -> None:
    for block, parts in (
        (attention_block(SMALL, 3), {"attn_q", "attn_k", "attn_v"}),
        (delta_block(EXPERTS, 0), {"ffn_gate_exps", "ffn_up_exps"}),
    ):
        kept = [one for one in block if not any(f".{part}.weight" in one.name for part in parts)]
        assert len(block) - len(kept) == len(parts)
        assert compare_tensors(block, as_file(kept)).problems() == []
        unfused = [one for one in kept if not one.replaces]
        missing = compare_tensors(block, as_file(unfused)).missing
        assert {one.name.split(".")[2] for one in missing} == parts


def test_trailing_dimensions_of_one_do_not_matter() -> None:
    listed = delta_block(EXPERTS, 0)
    found = as_file(required(listed))
    gate = "blk.0.ffn_gate_inp_shexp.weight"
    assert found[gate].shape == (2048,)
    found[gate] = TensorInfo(gate, (2048, 1), GGMLType.F32, 0, 0)
    assert compare_tensors(listed, found).problems() == []
