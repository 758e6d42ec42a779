"""Descriptions of whole, partial and foreign model files."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from headlong.errors import GGUFError, ParameterError
from headlong.gguf import (
    BlockShapes,
    ExpectedTensor,
    ExpertShapes,
    GGMLType,
    GGUFWriter,
    expected_tensors,
)
from headlong.tools.inspect import MtpState, describe, to_json
from tiny import TinySpec, write_tiny

DENSE = BlockShapes(64, 32, 96, 4, 2, 16, 2, 4, 16, 4)
EXPERTS = BlockShapes(64, 32, 0, 4, 2, 16, 2, 4, 16, 4, ExpertShapes(8, 32, 64))


def write_model(
    path: Path,
    shapes: BlockShapes = DENSE,
    *,
    layers: int = 4,
    mtp: int = 1,
    keep: Callable[[ExpectedTensor], bool] = lambda one: not one.optional,
    change: dict[str, int | str | None] | None = None,
    pre: str = "qwen35",
) -> Path:
    """A file with zeros in every kept tensor; `change` replaces metadata, or leaves it out."""
    arch = "qwen35moe" if shapes.experts else "qwen35"
    values: dict[str, int | float | str | None] = {
        "general.architecture": arch,
        "general.name": "Small Model",
        f"{arch}.block_count": layers + mtp,
        f"{arch}.context_length": 4096,
        f"{arch}.embedding_length": shapes.hidden,
        f"{arch}.attention.head_count": shapes.heads,
        f"{arch}.attention.head_count_kv": shapes.kv_heads,
        f"{arch}.attention.key_length": shapes.head_dim,
        f"{arch}.attention.layer_norm_rms_epsilon": 1e-6,
        f"{arch}.rope.freq_base": 1e7,
        f"{arch}.rope.dimension_count": 4,
        f"{arch}.ssm.conv_kernel": shapes.taps,
        f"{arch}.ssm.state_size": shapes.state,
        f"{arch}.ssm.group_count": shapes.key_heads,
        f"{arch}.ssm.time_step_rank": shapes.value_heads,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.eos_token_id": 3,
        "tokenizer.chat_template": "{{ messages }}",
    }
    if shapes.experts:
        values[f"{arch}.expert_count"] = shapes.experts.experts
        values[f"{arch}.expert_used_count"] = 2
        values[f"{arch}.expert_feed_forward_length"] = shapes.experts.ffn
        values[f"{arch}.expert_shared_feed_forward_length"] = shapes.experts.shared_ffn
    else:
        values[f"{arch}.feed_forward_length"] = shapes.ffn
    if mtp:
        values[f"{arch}.nextn_predict_layers"] = mtp
    values |= change or {}
    writer = GGUFWriter(path)
    for key, value in values.items():
        if isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif value is not None:
            writer.add_uint32(key, value)
    writer.add_strings("tokenizer.ggml.tokens", [f"t{i}" for i in range(shapes.vocab)])
    writer.add_strings("tokenizer.ggml.merges", ["t 1", "t 2"])
    recurrent = [(index + 1) % 4 != 0 for index in range(layers)]
    for one in filter(keep, expected_tensors(shapes, recurrent, mtp)):
        matrix = len(one.shape) > 1 and one.shape[0] % 32 == 0
        kind = GGMLType.Q8_0 if matrix else GGMLType.F32
        writer.add_tensor(one.name, np.zeros(one.shape[::-1], np.float32), kind)
    writer.write()
    return path


def parameters(shapes: BlockShapes, layers: int = 4, mtp: int = 1) -> int:
    recurrent = [(index + 1) % 4 != 0 for index in range(layers)]
    listed = expected_tensors(shapes, recurrent, mtp)
    return sum(int(np.prod(one.shape)) for one in listed if not one.optional)


def test_a_whole_model(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf")
    found = describe(path, context=100)
    assert found.problems == ()
    assert found.unexpected == ()
    assert (found.path, found.parts) == (str(path), (str(path),))
    assert found.size == path.stat().st_size
    assert (found.name, found.architecture) == ("Small Model", "qwen35")
    assert found.parameters == parameters(DENSE)
    assert found.tied_head is True
    assert found.mtp.state is MtpState.PRESENT
    assert (found.mtp.layers, found.mtp.tensors) == (1, 14)
    assert found.mtp.parameters == parameters(DENSE) - parameters(DENSE, mtp=0)
    assert sum(share.bytes for share in found.mtp.types) == found.mtp.bytes
    assert found.tokenizer is not None
    assert found.tokenizer.vocabulary == 64
    assert found.tokenizer.merges == 2
    assert (found.tokenizer.eos, found.tokenizer.bos) == (3, None)
    assert found.tokenizer.chat_template
    assert found.sizes is not None
    assert found.sizes.blocks == DENSE
    assert found.sizes.recurrent == (True, True, True, False)
    assert found.memory is not None
    assert found.memory.kv_trunk == found.memory.kv_mtp == 100 * 2 * 2 * 16 * 2
    assert found.memory.weights == sum(share.bytes for share in found.types)
    assert found.step is not None
    assert found.step.weights + found.mtp.bytes == found.memory.weights
    assert found.step.draft > found.mtp.bytes


def test_the_share_of_each_type(tmp_path: Path) -> None:
    found = describe(write_model(tmp_path / "m.gguf"), 1)
    assert {share.type for share in found.types} == {"F32", "Q8_0"}
    assert sum(share.parameters for share in found.types) == found.parameters
    assert sum(share.share for share in found.types) == pytest.approx(1)
    assert [share.bytes for share in found.types] == sorted(
        (share.bytes for share in found.types), reverse=True
    )
    quantised = next(share for share in found.types if share.type == "Q8_0")
    assert quantised.bytes == quantised.parameters * 34 // 32
    total = sum(share.bytes for share in found.types)
    assert found.bits_per_weight == pytest.approx(8 * total / found.parameters)


def test_json_holds_every_field(tmp_path: Path) -> None:
    found = describe(write_model(tmp_path / "m.gguf"), 100)
    read = json.loads(to_json(found))
    assert read["mtp"]["state"] == "present"
    assert read["sizes"]["blocks"]["hidden"] == 32
    assert read["sizes"]["layers"] == 4
    assert (read["sizes"]["delta_layers"], read["sizes"]["attention_layers"]) == (3, 1)
    assert read["types"][0]["type"] in ("Q8_0", "F32")
    assert found.memory is not None
    assert read["memory"]["total"] == found.memory.total
    assert set(read) == set(type(found).__dataclass_fields__)


def test_a_model_of_another_writer(tmp_path: Path) -> None:
    tiny = write_tiny(tmp_path / "tiny.gguf", TinySpec(weights="Q4_K"))
    found = describe(tiny.path, 128)
    assert found.problems == ()
    assert found.unexpected == ()
    assert found.mtp.state is MtpState.PRESENT
    assert found.mtp.missing == ()
    assert found.tied_head is tiny.spec.tied
    assert found.sizes is not None
    assert found.sizes.layers == tiny.spec.layers
    assert found.sizes.blocks.hidden == tiny.spec.hidden
    assert "Q4_K" in {share.type for share in found.types}


def test_a_model_without_a_head(tmp_path: Path) -> None:
    found = describe(write_model(tmp_path / "m.gguf", mtp=0), 100)
    assert found.problems == ()
    assert found.mtp.state is MtpState.ABSENT
    assert (found.mtp.layers, found.mtp.tensors, found.mtp.bytes) == (0, 0, 0)
    assert found.memory is not None
    assert found.memory.kv_mtp == 0
    assert found.step is not None
    assert found.step.draft == 0


def test_a_declared_head_whose_tensors_are_missing(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "m.gguf", keep=lambda one: not one.optional and "blk.4" not in one.name
    )
    found = describe(path, 100)
    assert found.mtp.state is MtpState.INCOMPLETE
    assert found.mtp.state.value == "declared but tensors missing"
    assert (found.mtp.layers, found.mtp.tensors) == (1, 0)
    assert "blk.4.nextn.eh_proj.weight" in found.mtp.missing
    assert len(found.mtp.missing) == 14
    assert len(found.problems) == 1
    assert "MTP head is declared but lacks blk.4.attn_q.weight" in found.problems[0]
    assert found.memory is not None
    assert found.memory.kv_mtp == 0


def test_a_head_that_lacks_one_tensor(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "m.gguf", keep=lambda one: not one.optional and "eh_proj" not in one.name
    )
    found = describe(path, 100)
    assert found.mtp.state is MtpState.INCOMPLETE
    assert found.mtp.missing == ("blk.4.nextn.eh_proj.weight",)
    assert found.mtp.tensors == 13


def test_a_head_that_is_not_declared(tmp_path: Path) -> None:
    change: dict[str, int | str | None] = {
        "qwen35.nextn_predict_layers": None,
        "qwen35.block_count": 4,
    }
    found = describe(write_model(tmp_path / "m.gguf", change=change), 100)
    assert found.mtp.state is MtpState.UNDECLARED
    assert (found.mtp.layers, found.mtp.tensors) == (0, 14)
    assert found.problems == ("the MTP head is there but nextn_predict_layers is not set",)
    assert len(found.unexpected) == 14


def test_a_file_with_only_the_head(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "m.gguf",
        keep=lambda one: (
            not one.optional and one.name[:5] not in ("blk.0", "blk.1", "blk.2", "blk.3")
        ),
    )
    found = describe(path, 100)
    assert found.mtp.state is MtpState.PRESENT
    assert found.problems == (
        "the file holds no trunk block: it is an MTP head to go with another file",
    )


def test_missing_misshapen_and_unknown_tensors_are_named(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "m.gguf",
        keep=lambda one: one.name not in ("blk.0.ssm_a", "output.weight") and not one.replaces,
        change={"qwen35.attention.head_count_kv": 1},
    )
    problems = " | ".join(describe(path, 100).problems)
    assert "tensor blk.0.ssm_a [4] is missing" in problems
    assert "blk.3.attn_k.weight has shape [32, 32] instead of [32, 16]" in problems


def test_many_faults_are_counted_not_listed(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", change={"qwen35.embedding_length": 64})
    problems = describe(path, 100).problems
    assert len(problems) < 12
    assert problems[-1].endswith("more faults of this kind")


def test_a_mixture_of_experts(tmp_path: Path) -> None:
    found = describe(write_model(tmp_path / "m.gguf", EXPERTS), 100)
    assert found.sizes is not None
    assert found.sizes.blocks == EXPERTS
    assert found.sizes.experts_used == 2
    assert found.mtp.state is MtpState.PRESENT
    assert found.unexpected == ()
    assert found.step is not None
    assert found.memory is not None
    assert found.step.weights < found.memory.weights - found.mtp.bytes


def test_a_foreign_architecture_gets_the_generic_part(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "m.gguf")
    writer.add_string("general.architecture", "glm4moe")
    writer.add_uint32("glm4moe.block_count", 3)
    writer.add_uint32("glm4moe.nextn_predict_layers", 1)
    writer.add_tensor("token_embd.weight", np.zeros((8, 32), np.float32), GGMLType.Q8_0)
    writer.add_tensor("blk.2.nextn.eh_proj.weight", np.zeros((8, 32), np.float32), GGMLType.F16)
    writer.add_tensor("blk.2.odd", bytes(66), GGMLType.IQ2_XXS, (256,))
    writer.write()
    found = describe(tmp_path / "m.gguf", 100)
    assert found.sizes is found.memory is found.step is found.tied_head is found.tokenizer is None
    assert {share.type: share.tensors for share in found.types} == {
        "F16": 1,
        "Q8_0": 1,
        "IQ2_XXS": 1,
    }
    assert found.mtp.state is MtpState.PRESENT
    assert found.mtp.tensors == 2
    problems = " | ".join(found.problems)
    assert "glm4moe" in problems
    assert "1 tensors are of type IQ2_XXS, which cannot be decoded" in problems


def test_a_foreign_head_that_is_only_declared(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "m.gguf")
    writer.add_string("general.architecture", "glm4moe")
    writer.add_uint32("glm4moe.block_count", 0xFFFFFFFF)
    writer.add_uint32("glm4moe.nextn_predict_layers", 0x7FFFFFFF)
    writer.add_tensor("blk.0.attn_q.weight", np.zeros((8, 32), np.float32))
    writer.write()
    found = describe(tmp_path / "m.gguf", 100)
    assert found.mtp.state is MtpState.INCOMPLETE
    assert found.mtp.missing == ("blk.2147483648.nextn.eh_proj.weight",)


def test_a_vocabulary_without_tensors(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", keep=lambda one: False)
    found = describe(path, 100)
    assert found.parameters == 0
    assert found.bits_per_weight == 0
    assert found.types == ()
    assert found.sizes is None
    assert found.tokenizer is not None
    assert "the file holds no tensors, only metadata" in found.problems


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"qwen35.embedding_length": None}, "key qwen35.embedding_length is missing"),
        ({"qwen35.embedding_length": "32"}, "embedding_length is STRING '32'"),
        ({"qwen35.block_count": 1}, "nextn_predict_layers is 1, but must be at most 0"),
        ({"qwen35.block_count": 0xFFFFFFFF}, "block_count is 4294967295, but must be at most"),
        ({"general.architecture": None}, "general.architecture is missing"),
        ({"general.architecture": 5}, "general.architecture is UINT32 5"),
        ({"general.name": 5}, "general.name is UINT32 5"),
        ({"tokenizer.ggml.pre": "strange"}, "strange"),
        ({"tokenizer.ggml.pre": None}, "tokenizer.ggml.pre is missing"),
    ],
)
def test_bad_metadata_are_a_problem_and_the_rest_is_described(
    tmp_path: Path, change: dict[str, int | str | None], reason: str
) -> None:
    found = describe(write_model(tmp_path / "m.gguf", change=change), 100)
    assert any(reason in problem for problem in found.problems), found.problems
    assert found.parameters == parameters(DENSE)
    assert not any(str(tmp_path) in problem for problem in found.problems)
    json.loads(to_json(found))


@pytest.mark.parametrize("context", [0, -1, 1 << 40])
def test_the_context_is_checked(tmp_path: Path, context: int) -> None:
    with pytest.raises(ParameterError, match=f"context is {context}, but must be between 1"):
        describe(write_model(tmp_path / "m.gguf"), context)


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(GGUFError, match="ends at byte"):
        describe(path, 100)
