from __future__ import annotations

import math
from pathlib import Path

import pytest

from altered import Value, alter
from headlong.errors import HeadlongError, ModelError, UnsupportedError
from headlong.gguf import open_gguf
from headlong.models.config import Qwen35Config, read_config

SIZES = (
    "block_count",
    "embedding_length",
    "feed_forward_length",
    "context_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "rope.dimension_count",
    "ssm.state_size",
    "ssm.group_count",
    "ssm.time_step_rank",
    "ssm.conv_kernel",
)
NUMBERS = ("attention.layer_norm_rms_epsilon", "rope.freq_base")


def read(path: Path) -> Qwen35Config:
    with open_gguf(path) as file:
        return read_config(file.metadata, file.tensors["token_embd.weight"].rows)


def changed(
    small: Path, folder: Path, keys: dict[str, Value], without: tuple[str, ...] = ()
) -> Path:
    """The small model with other metadata."""
    return alter(
        small,
        folder / "changed.gguf",
        keys={f"qwen35.{key}": value for key, value in keys.items()},
        without=[f"qwen35.{key}" for key in without],
    )


def refusal(path: Path, kind: type[HeadlongError]) -> str:
    """The message of a refusal, which names the file."""
    with pytest.raises(kind) as caught:
        read(path)
    assert type(caught.value) is kind
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_everything_is_read(small: Path) -> None:
    config = read(small)
    assert (config.name, config.layers, config.mtp_layers, config.mtp_block) == ("tiny", 4, 1, 4)
    assert (config.hidden, config.ffn, config.vocab, config.context) == (64, 64, 320, 4096)
    assert (config.eps, config.rope_base) == (pytest.approx(1e-6), pytest.approx(1e7))
    attention = config.attention
    assert (attention.heads, attention.kv_heads) == (2, 1)
    assert (attention.head_dim, attention.rotary) == (32, 8)
    delta = config.delta
    assert (delta.key_heads, delta.value_heads, delta.taps) == (1, 2, 4)
    assert (delta.key_dim, delta.value_dim, delta.channels) == (32, 32, 128)
    assert config.recurrent == (True, True, True, False)


@pytest.mark.parametrize("key", [*SIZES, *NUMBERS])
def test_a_missing_key_is_named(small: Path, tmp_path: Path, key: str) -> None:
    assert f"qwen35.{key} is missing" in refusal(
        changed(small, tmp_path, {}, without=(key,)), ModelError
    )


@pytest.mark.parametrize("key", [*SIZES, *NUMBERS, "full_attention_interval"])
def test_a_key_of_another_type_is_named(small: Path, tmp_path: Path, key: str) -> None:
    message = refusal(changed(small, tmp_path, {key: "four"}), ModelError)
    assert f"qwen35.{key} is STRING 'four'" in message


@pytest.mark.parametrize("key", SIZES)
@pytest.mark.parametrize("value", [0, -1, 1 << 40])
def test_a_size_out_of_all_bounds_is_named(
    small: Path, tmp_path: Path, key: str, value: int
) -> None:
    message = refusal(changed(small, tmp_path, {key: value}), ModelError)
    assert f"qwen35.{key} is {value}, but must be" in message


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"block_count": 1}, "block_count = 1 leaves no trunk layer"),
        ({"attention.value_length": 64}, "attention.value_length = 64 differs from key_length"),
        ({"attention.head_count_kv": 3}, "2 attention heads do not divide into 3 KV heads"),
        ({"attention.key_length": 72, "attention.value_length": 72}, "multiple of 16 up to 512"),
        ({"attention.key_length": 528, "attention.value_length": 528}, "multiple of 16 up to 512"),
        ({"rope.dimension_count": 7}, "rope.dimension_count = 7 is odd or exceeds"),
        ({"rope.dimension_count": 34}, "rope.dimension_count = 34 is odd or exceeds"),
        ({"ssm.state_size": 40}, "ssm.state_size = 40 is not a multiple of 16 up to 256"),
        ({"ssm.state_size": 272}, "ssm.state_size = 272 is not a multiple of 16 up to 256"),
        ({"ssm.conv_kernel": 1}, "ssm.conv_kernel = 1 is below 2"),
        ({"ssm.conv_kernel": 9}, "ssm.conv_kernel is 9, but must be at most 8"),
        ({"ssm.group_count": 3}, "ssm.time_step_rank = 2 is no multiple of ssm.group_count = 3"),
        ({"ssm.inner_size": 65}, "ssm.inner_size = 65 is not time_step_rank x state_size"),
        ({"rope.dimension_sections": [2, 1, 1, 1]}, "rope.dimension_sections[3] = 1"),
        ({"rope.dimension_sections": "2,1,1"}, "rope.dimension_sections is STRING"),
        ({"full_attention_interval": 0}, "full_attention_interval is 0, but must be at least 1"),
        ({"attention.recurrent_layers": [True] * 3}, "recurrent_layers has 3 entries for 4 layers"),
        ({"attention.recurrent_layers": [1, 1, 1, 0, 0]}, "must be an array of booleans"),
        ({"nextn_predict_layers": -1}, "nextn_predict_layers is -1, but must be at least 0"),
        ({"nextn_predict_layers": 65}, "nextn_predict_layers is 65, but must be at most 64"),
        ({"attention.layer_norm_rms_epsilon": -1e-6}, "epsilon is -1e-06, but must be at least 0"),
        ({"attention.layer_norm_rms_epsilon": math.nan}, "epsilon is nan, but must be finite"),
        ({"rope.freq_base": 0.5}, "rope.freq_base is 0.5, but must be at least 1"),
        ({"rope.freq_base": math.inf}, "rope.freq_base is inf, but must be finite"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_contradictions_are_named(
    small: Path, tmp_path: Path, keys: dict[str, Value], words: str
) -> None:
    assert words in refusal(changed(small, tmp_path, keys), ModelError)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"nextn_predict_layers": 2}, "nextn_predict_layers = 2"),
        ({"rope.scaling.type": "yarn"}, "rope.scaling.type = 'yarn'"),
    ],
)
def test_what_is_sound_but_not_built_is_unsupported(
    small: Path, tmp_path: Path, keys: dict[str, Value], words: str
) -> None:
    assert words in refusal(changed(small, tmp_path, keys), UnsupportedError)


def test_other_architectures_are_named_with_those_that_run(small: Path, tmp_path: Path) -> None:
    path = alter(small, tmp_path / "llama.gguf", keys={"general.architecture": "llama"})
    message = refusal(path, UnsupportedError)
    assert "architecture 'llama'" in message
    assert "qwen35" in message
    path = alter(small, tmp_path / "none.gguf", without=["general.architecture"])
    assert "general.architecture is missing" in refusal(path, ModelError)


@pytest.mark.parametrize("interval", [1, 2, 3, 4, 5])
def test_every_few_layers_attend(small: Path, tmp_path: Path, interval: int) -> None:
    config = read(changed(small, tmp_path, {"full_attention_interval": interval}))
    assert config.recurrent == tuple((i + 1) % interval != 0 for i in range(4))


def test_named_layers_count_more_than_the_interval(small: Path, tmp_path: Path) -> None:
    keys: dict[str, Value] = {"attention.recurrent_layers": [False, True, False, True, False]}
    assert read(changed(small, tmp_path, keys)).recurrent == (False, True, False, True)


def test_defaults(small: Path, tmp_path: Path) -> None:
    optional = (
        "full_attention_interval",
        "nextn_predict_layers",
        "attention.value_length",
        "ssm.inner_size",
        "rope.dimension_sections",
    )
    path = changed(small, tmp_path, {"rope.scaling.type": "none"}, without=optional)
    config = read(path)
    # Without the key, the block of the head counts as one of the trunk.
    assert config.recurrent == (True, True, True, False, True)
    assert config.mtp_layers == 0
    nameless = alter(path, tmp_path / "by-name.gguf", without=["general.name"])
    assert read(nameless).name == "by-name"
