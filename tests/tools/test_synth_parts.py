"""What rehearsal files are made of: random blocks, the chain, the vocabulary."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from headlong.errors import ParameterError
from headlong.gguf import DECODABLE, GGMLType, dequantise, quantise
from headlong.tokenizer import ChatTemplate, Tokenizer, TokenType
from headlong.tools.synth.blocks import random_blocks
from headlong.tools.synth.chain import Chain, make_chain
from headlong.tools.synth.matrices import Band, Patch, diagonal, noise_rows
from headlong.tools.synth.tables import Parts
from headlong.tools.synth.vocabulary import MadeUpVocabulary, make_vocabulary

# --- Random blocks


@pytest.mark.parametrize("type", sorted(DECODABLE))
@pytest.mark.parametrize("std", [1.0, 0.02])
def test_random_blocks_have_the_wanted_spread(type: GGMLType, std: float) -> None:
    rng = np.random.default_rng(0)
    count = 65536 // type.block_size
    data = random_blocks(rng, type, count, std)
    assert data.shape == (count, type.block_bytes)
    values = dequantise(data, type, count, type.block_size).reshape(-1)
    assert np.isfinite(values).all()
    assert abs(values.mean()) < 0.06 * std
    # Types without a scale of full precision can only take powers of two.
    coarse = type in (GGMLType.F32, GGMLType.F16, GGMLType.BF16, GGMLType.MXFP4)
    assert values.std() == pytest.approx(std, rel=0.42 if coarse else 0.06)
    assert np.mean(values == 0) < 0.26  # Q2_K has four levels, one of them near zero


def test_random_blocks_of_q8_0_have_no_minus_128() -> None:
    data = random_blocks(np.random.default_rng(0), GGMLType.Q8_0, 4096, 1)
    quants = data[:, 2:].view(np.int8)
    assert quants.min() == -127
    assert quants.max() == 127


@pytest.mark.parametrize("type", [GGMLType.Q4_K, GGMLType.Q5_K, GGMLType.Q2_K])
def test_minima_centre_every_sub_block(type: GGMLType) -> None:
    data = random_blocks(np.random.default_rng(0), type, 64, 1)
    values = dequantise(data, type, 64, 256).reshape(64, -1, 32 if type != GGMLType.Q2_K else 16)
    steps = values.max(axis=-1) + values.min(axis=-1)
    assert np.abs(steps).max() < 0.6 * np.ptp(values, axis=-1).max()
    assert np.abs(steps).mean() < 0.1


def test_blocks_differ() -> None:
    data = random_blocks(np.random.default_rng(0), GGMLType.Q6_K, 512, 1)
    assert len(np.unique(data, axis=0)) == 512


# --- Matrices with patches


@pytest.mark.parametrize("type", [GGMLType.Q4_K, GGMLType.Q8_0, GGMLType.F16])
def test_patches_replace_whole_blocks_of_the_noise(
    type: GGMLType, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, cols = 700, 512
    values = np.full((300, 256), 0.5, dtype=np.float32)
    patches = (Patch(200, 256, values), *diagonal(0, 0, 256, 2.0))
    bands = (Band(100, 0.01), Band(600, 0.1))

    def made() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        pieces = list(noise_rows(type, cols, bands, patches, np.random.default_rng(0)))
        return dequantise(np.concatenate(pieces), type, rows, cols)

    matrix = made()
    np.testing.assert_allclose(matrix[200:500, 256:], 0.5, rtol=0.01)
    np.testing.assert_allclose(matrix[:256, :256], 2 * np.eye(256), atol=0.01)
    assert matrix[:100, 256:].std() == pytest.approx(0.01, rel=0.42)
    assert matrix[500:].std() == pytest.approx(0.1, rel=0.42)
    # Pieces of another size: other noise, the same patches.
    monkeypatch.setattr("headlong.tools.synth.matrices._CHUNK", 7 * type.row_bytes(cols))
    pieces = made()
    np.testing.assert_array_equal(pieces[200:500, 256:], matrix[200:500, 256:])
    np.testing.assert_array_equal(pieces[:256, :256], matrix[:256, :256])


@pytest.mark.parametrize(
    ("hidden", "code"), [(1024, 256), (2048, 512), (2560, 768), (4096, 1280), (5120, 1536)]
)
def test_parts_fill_an_embedding(hidden: int, code: int) -> None:
    parts = Parts.of(hidden)
    assert parts.code == code
    assert parts.own >= 256
    assert (parts.follower, parts.drafted) == (parts.own + code, parts.own + 2 * code)
    assert parts.drafted + code == hidden


# --- The chain


def chain_of(accept: float, seed: int = 0) -> Chain:
    return make_chain(range(361, 248044), 248320, accept, np.random.default_rng(seed))


def test_the_chain_is_one_cycle_of_frequent_words() -> None:
    chain = chain_of(0.8)
    assert len(chain.tokens) == len(set(chain.tokens.tolist())) == 4096
    assert chain.tokens.min() >= 361
    assert chain.tokens.max() < 32768
    token, seen = int(chain.tokens[0]), []
    for _ in range(4096):
        seen.append(token)
        token = int(chain.tokens[chain.follower[token]])
    assert token == chain.tokens[0]
    assert len(set(seen)) == 4096


def test_frequent_ids_are_more_common() -> None:
    tokens = chain_of(0.8).tokens
    shares = [np.mean(tokens < bound) for bound in (4096, 8192, 16384)]
    assert shares == pytest.approx([0.47, 0.64, 0.82], abs=0.03)


@pytest.mark.parametrize("accept", [0.0, 0.25, 0.8, 1.0])
def test_the_head_is_right_at_the_wanted_share(accept: float) -> None:
    chain = chain_of(accept)
    right = chain.drafted == chain.follower
    assert right[chain.tokens].mean() == pytest.approx(accept, abs=1 / 4096)
    assert right.mean() == pytest.approx(accept, abs=0.005)


def test_the_share_holds_along_the_chain() -> None:
    chain = chain_of(0.77)
    right = (chain.drafted == chain.follower)[chain.tokens]
    assert (right[:4000].reshape(40, 100).sum(axis=1) == 77).all()
    sums = np.convolve(right, np.ones(100), "valid")
    assert 64 < sums.min() < sums.max() < 90  # windows that straddle two


def test_whether_the_head_is_right_does_not_depend_on_the_tokens_before() -> None:
    """Chances of the second to fourth draft, given that those before are right: all the same."""
    rates = []
    for seed in range(10):
        chain = chain_of(0.7, seed)
        right = (chain.drafted == chain.follower)[chain.tokens]
        run = right.copy()
        rates.append([])
        for depth in range(1, 4):
            after = np.roll(right, -depth)
            rates[-1].append((run & after).sum() / run.sum())
            run &= after
    # 10 x 4096 tokens: the standard deviation of the rarest, after three right ones, is 0.004.
    assert np.mean(rates, axis=0) == pytest.approx([0.7] * 3, abs=0.015)


def test_followers_and_drafts_are_on_the_chain() -> None:
    chain = chain_of(0.5)
    for positions in (chain.follower, chain.drafted):
        assert positions.min() >= 0
        assert positions.max() < len(chain.tokens)
    np.testing.assert_array_equal(chain.position[chain.tokens], np.arange(len(chain.tokens)))
    assert np.sum(chain.position >= 0) == len(chain.tokens)


# --- The vocabulary


@pytest.fixture(scope="module")
def published() -> MadeUpVocabulary:
    return make_vocabulary(248320)


def test_special_tokens_have_the_published_ids(published: MadeUpVocabulary) -> None:
    vocab = published.vocabulary
    tokens = vocab.tokens
    for token, text in {
        248044: "<|endoftext|>",
        248045: "<|im_start|>",
        248046: "<|im_end|>",
        248053: "<|vision_start|>",
        248056: "<|image_pad|>",
        248058: "<tool_call>",
        248063: "<|fim_pad|>",
        248065: "<|file_sep|>",
        248068: "<think>",
        248069: "</think>",
        248319: "[PAD248319]",
    }.items():
        assert tokens[token] == text
    assert vocab.eos_id == 248046
    assert vocab.padding_id == 248044
    assert vocab.types[248045] == TokenType.CONTROL
    assert vocab.types[248068] == TokenType.USER_DEFINED
    assert vocab.types[248319] == TokenType.UNUSED


def test_every_token_is_a_byte_or_one_merge(published: MadeUpVocabulary) -> None:
    vocab = published.vocabulary
    tokens = vocab.tokens
    assert len(tokens) == len(vocab.types) == len(set(tokens)) == 248320
    known = set(tokens[:256])
    assert all(len(token) == 1 for token in known)
    assert len(vocab.merges) == published.words.stop - 256
    for token, merge in zip(tokens[256:], vocab.merges, strict=False):
        left, right = merge.split(" ")
        assert left in known
        assert right in known
        assert left + right == token
        known.add(token)


def test_text_of_words_encodes_to_the_words(published: MadeUpVocabulary) -> None:
    tokenizer = Tokenizer(published.vocabulary)
    rng = np.random.default_rng(0)
    for words in (published.words, range(361, 5000)):
        ids = rng.integers(words.start, words.stop, 300).tolist()
        assert tokenizer.encode(tokenizer.decode(ids)) == ids


def test_a_conversation_can_be_rendered(published: MadeUpVocabulary) -> None:
    template = ChatTemplate.for_tokenizer(Tokenizer(published.vocabulary))
    rendered = template.render([{"role": "user", "content": "hi"}])
    assert rendered.text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_a_vocabulary_can_be_too_small() -> None:
    with pytest.raises(ParameterError, match="450 tokens"):
        make_vocabulary(450)


def test_words_are_a_space_and_letters(published: MadeUpVocabulary) -> None:
    tokens = published.vocabulary.tokens
    for token in tokens[published.words.start : published.words.stop : 997]:
        assert token[0] == "Ġ"
        assert token[1:].isascii()
        assert token[1:].isalpha()
    lengths = [len(tokens[i]) for i in published.words]
    assert all(a <= b for a, b in pairwise(lengths))


def test_patches_can_be_encoded_in_every_type() -> None:
    tile = diagonal(0, 0, 256, 1.0)[0].values
    for type in DECODABLE:
        values = dequantise(quantise(tile, type), type, 256, 256)
        np.testing.assert_allclose(np.diag(values), 1, rtol=0.07)
