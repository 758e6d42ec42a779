"""Bytes per token of GGUF files whose sizes are known."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny
from headlong.bench.provenance import model_file
from headlong.bench.roofline import read_gguf
from headlong.errors import GGUFError
from headlong.gguf import open_gguf
from headlong.tools.inspect import describe


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_tiny(tmp_path_factory.mktemp("model") / "tiny.gguf", tiny.TinySpec()).path


def test_a_model_with_a_head(path: Path) -> None:
    facts = read_gguf(path)
    described = describe(path, 1)
    assert described.step is not None
    assert facts.step_bytes == described.step.weights
    assert facts.mtp_layers == described.mtp.layers == 1
    assert facts.mtp_types
    assert facts.bytes == path.stat().st_size
    assert facts.file == "tiny.gguf"
    assert not facts.synthetic
    with open_gguf(path) as file:
        assert sum(size for _, size in facts.types) == sum(t.nbytes for t in file.tensors.values())
    assert facts.roofline(1.0) == pytest.approx(1e9 / facts.step_bytes)


def test_the_fingerprint_follows_the_bytes(path: Path, tmp_path: Path) -> None:
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    other = tmp_path / "other.gguf"
    other.write_bytes(changed)
    assert read_gguf(other).fingerprint != read_gguf(path).fingerprint
    other.write_bytes(path.read_bytes())
    assert read_gguf(other).fingerprint == read_gguf(path).fingerprint


def test_in_a_record(path: Path) -> None:
    facts = model_file(str(path))
    assert facts is not None
    assert facts.quantisation == "Q8_0"
    assert model_file("user/repo:Q4_K_M") is None
    assert model_file(None) is None


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF?")
    with pytest.raises(GGUFError):
        model_file(str(tmp_path / "a.gguf"))
