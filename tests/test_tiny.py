"""The tiny models are what their spec says; other tests mean something only then."""

from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from tiny import Chain, Tiny, TinySpec, write_tiny
from tiny_blocks import random_blocks
from tiny_vocab import MINIMUM, tiny_vocab

BLOCK_TYPES = (
    "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
    "IQ4_NL", "IQ4_XS", "MXFP4",
)  # fmt: skip


def values(tiny: Tiny, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    tensor = next(t for t in gguf.GGUFReader(tiny.path).tensors if t.name == name)
    return gguf.quants.dequantize(tensor.data, tensor.tensor_type)


def test_the_same_spec_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_tiny(tmp_path / "a.gguf", TinySpec(seed=3))
    second = write_tiny(tmp_path / "b.gguf", TinySpec(seed=3))
    other = write_tiny(tmp_path / "c.gguf", TinySpec(seed=4))
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.path.read_bytes() != other.path.read_bytes()


def test_tensors_have_the_shapes_of_the_architecture(tmp_path: Path) -> None:
    tiny = write_tiny(tmp_path / "m.gguf", TinySpec())
    shapes = {t.name: tuple(int(n) for n in t.shape) for t in gguf.GGUFReader(tiny.path).tensors}
    # 3 global, 3 delta-net blocks of 14, 1 attention block of 11, 1 MTP block of 15.
    assert len(shapes) == 3 + 3 * 14 + 11 + 15
    assert shapes["blk.0.attn_qkv.weight"] == (256, 512)
    assert shapes["blk.0.ssm_conv1d.weight"] == (4, 512)
    assert shapes["blk.3.attn_q.weight"] == (256, 512)
    assert shapes["blk.4.nextn.eh_proj.weight"] == (512, 256)
    assert shapes["output.weight"] == (256, 320)


def test_knobs_change_the_file(tmp_path: Path) -> None:
    spec = TinySpec(tied=True, mtp=False, weights="Q4_K", weights_by_name=(("ffn_down", "Q6_K"),))
    tensors = gguf.GGUFReader(write_tiny(tmp_path / "m.gguf", spec).path).tensors
    types = {t.name: t.tensor_type for t in tensors}
    assert "output.weight" not in types
    assert not any("nextn" in name for name in types)
    assert types["blk.0.ffn_down.weight"] == Type.Q6_K
    assert types["blk.0.ffn_up.weight"] == Type.Q4_K
    assert types["blk.0.ssm_alpha.weight"] == Type.F32


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_random_blocks_have_the_spread_asked_for(name: str) -> None:
    std = np.array([0.5, 0.02, 3.0], dtype=np.float32)
    data = random_blocks(np.random.default_rng(0), std, 8192, Type[name])
    decoded = gguf.quants.dequantize(data, Type[name])
    assert decoded.shape == (3, 8192)
    np.testing.assert_allclose(decoded.std(axis=1), std, rtol=0.25)
    # A mean near zero keeps activations from drifting one way.
    assert (np.abs(decoded.mean(axis=1)) < 0.3 * std).all()


def test_logits_of_a_chain_favour_the_successor(tmp_path: Path) -> None:
    """What `Chain` promises of the matrices, without running layers."""
    tiny = write_tiny(tmp_path / "m.gguf", TinySpec(weights="F32", chain=Chain(misleading=0.25)))
    embedding, head = values(tiny, "token_embd.weight"), values(tiny, "output.weight")
    tokens = np.array(tiny.likely)
    successors = np.array([tiny.next_token[t] for t in tokens])
    assert (np.argmax(embedding[tokens] @ head.T, axis=1) == successors).mean() > 0.97
    seen = embedding.copy()
    seen[:, tiny.spec.hidden // 2 :] = 0  # what eh_proj lets through
    right = np.argmax(seen[tokens] @ head.T, axis=1) == successors
    assert len(tiny.misleading) == round(0.25 * len(tokens))
    wrong = np.array([t in tiny.misleading for t in tokens])
    assert not right[wrong].any()
    assert right[~wrong].mean() > 0.97


def test_a_chain_visits_every_likely_token(tmp_path: Path) -> None:
    spec = TinySpec(chain=Chain(ends=True), printable=True)
    tiny = write_tiny(tmp_path / "m.gguf", spec)
    token, visited = tiny.likely[0], set()
    for _ in tiny.likely:
        visited.add(token)
        token = tiny.next_token[token]
    assert visited == set(tiny.likely)
    assert token == tiny.likely[0]
    assert tiny.vocab.end_of_turn in visited


def test_printable_tokens_are_whole_ascii(tmp_path: Path) -> None:
    vocab = tiny_vocab(320)
    texts = [vocab.tokens[t].replace("Ġ", " ") for t in vocab.printable]
    assert len(texts) == 95 + len(vocab.merges)
    assert all(text.isascii() and text.isprintable() for text in texts)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tiny_vocab(MINIMUM - 1), "needs at least"),
        (lambda: TinySpec(chain=Chain(), tied=True), "output matrix"),
        (lambda: TinySpec(heads=3, kv_heads=2), "multiples"),
    ],
)
def test_impossible_specs_are_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()
