"""An exported file holds the model: read back, and continued by llama.cpp with the same tokens."""

# ruff: noqa: E402 (without PyTorch the module must be skipped before these imports)

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

torch = pytest.importorskip("torch", reason="the training code needs PyTorch")

from small_qwen35 import SMALL, small_model
from training.decode import generate
from training.export import export, tensor_names
from training.model import Model

from headlong.gguf import GGMLType, dequantise, open_gguf
from oracles import llama_cpp
from training import tokenizer as tokenizer_module

pytestmark = pytest.mark.training

VOCAB = 288
WORDS = ["def add(left, right):\n    return left + right\n", "class Point:\n    x = 0\n"]
# The float matrices that published files of the architecture keep in float32.
ALWAYS_F32 = ("norm.weight", "ssm_a", "ssm_dt.bias", "ssm_conv1d.weight", "ssm_alpha.weight",
              "ssm_beta.weight")  # fmt: skip


@pytest.fixture
def tokenizer(monkeypatch: pytest.MonkeyPatch) -> Tokenizer:
    monkeypatch.setattr(tokenizer_module, "VOCAB_SIZE", VOCAB)
    return tokenizer_module.train_tokenizer(WORDS * 3)


@pytest.fixture
def model() -> Model:
    return small_model(replace(SMALL, vocab=VOCAB, hidden=64, interval=4))


def test_every_parameter_is_in_the_file_once(
    model: Model, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    path = tmp_path / "small.gguf"
    assert export(model, tokenizer, path, GGMLType.F32) == path.stat().st_size
    with open_gguf(path) as file:
        stored = sum(info.elements for info in file.tensors.values())
        assert stored == sum(p.numel() for p in model.parameters())
        for name, tensor in tensor_names(model).items():
            info = file.tensors[name]
            values = dequantise(file.data(name), info.type, info.rows, info.cols)
            assert np.array_equal(values.reshape(tensor.shape), tensor.detach().numpy()), name


def test_matrices_are_q8_0_and_the_rest_f32(
    model: Model, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    path = tmp_path / "small.gguf"
    export(model, tokenizer, path)
    with open_gguf(path) as file:
        for name, info in file.tensors.items():
            expected = GGMLType.F32 if name.endswith(ALWAYS_F32) else GGMLType.Q8_0
            assert info.type == expected, name
        meta = file.metadata
        assert meta.require("qwen35.block_count", int) == 5
        assert meta.require("qwen35.nextn_predict_layers", int) == 1
        assert meta.require("general.license", str) == "PSF-2.0"
        tokens = meta.strings("tokenizer.ggml.tokens")
        types = meta.ints("tokenizer.ggml.token_type")
        assert len(tokens) == len(types) == VOCAB
        assert tokens[meta.require("tokenizer.ggml.eos_token_id", int)] == "<|im_end|>"
        assert dict(zip(tokens[-7:], types[-7:], strict=True)) == {
            "<|endoftext|>": 3, "<|im_start|>": 3, "<|im_end|>": 3,
            "<think>": 4, "</think>": 4, "<tool_call>": 4, "</tool_call>": 4,
        }  # fmt: skip


@pytest.fixture
def llama() -> Iterator[llama_cpp.Worker]:
    if llama_cpp.MISSING:
        pytest.skip(llama_cpp.REASON)
    worker = llama_cpp.Worker()
    yield worker
    worker.close()


@pytest.mark.oracle
def test_llama_cpp_continues_with_the_same_tokens(
    llama: llama_cpp.Worker, model: Model, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    path = tmp_path / "small.gguf"
    export(model, tokenizer, path, GGMLType.F32)
    prompt = tokenizer.encode("def add(point):\n    return 7").ids
    expected = generate(model, torch.tensor([prompt]), 24)[0].tolist()
    assert len(set(expected)) > 4  # not one token over and over
    with llama.open(path) as opened:
        assert list(opened.greedy(prompt, 24).tokens) == expected
