"""Rehearsal files: what is in them, that the chain holds, and how often drafts are accepted."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from math import sqrt
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from headlong import LLM
from headlong.errors import GGUFError, ModelError, ParameterError
from headlong.gguf import dequantise, open_gguf
from headlong.gguf.types import GGMLType
from headlong.progress import Progress, Silent
from headlong.sampling import SamplingParams
from headlong.tools.inspect import describe
from headlong.tools.synth import (
    MIXES,
    Rehearsal,
    Size,
    Written,
    find_mix,
    find_size,
    is_synthetic,
    plan_tensors,
    read_rehearsal,
    write_rehearsal,
)
from headlong.tools.synth.chain import Chain
from headlong.tools.synth.write import recipe_for
from rehearsal_sizes import TIED, UNTIED
from tiny import write_tiny

Maker = Callable[..., Written]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """Writes each file once."""
    folder = tmp_path_factory.mktemp("rehearsals")
    written: dict[tuple[str, str, float], Written] = {}

    def make(size: Size, mix: str, accept: float = 0.8) -> Written:
        key = (size.name, mix, accept)
        if key not in written:
            path = folder / f"{len(written)}.gguf"
            written[key] = write_rehearsal(path, size, find_mix(mix), Rehearsal(accept))
        return written[key]

    return make


def load(path: Path, drafts: int, *, progress: Progress | None = None) -> LLM:
    return LLM(path, context=2048, sequences=1, draft_n_max=drafts, threads=1, progress=progress)


def share_on_chain(chain: Chain, tokens: list[int]) -> float:
    """How many tokens are followed by their follower."""
    follower = chain.tokens[chain.follower]
    return float(np.mean([follower[token] == after for token, after in pairwise(tokens)]))


# --- The chain holds


@pytest.mark.parametrize("mix", [mix.name for mix in MIXES])
def test_text_follows_the_chain_in_every_mix(make: Maker, mix: str) -> None:
    written = make(TIED, mix)
    prompt = [65, 400, 70]
    answer = load(written.path, 2).generate(prompt, SamplingParams(max_tokens=48, temperature=0))
    assert len(answer.tokens) == 48
    assert share_on_chain(written.chain, [prompt[-1], *answer.tokens]) == 1
    assert answer.stats.draft_n_accepted > 0


@pytest.mark.parametrize("mix", ["Q4_K_M", "Q8_0", "Q2_K", "F16"])
def test_a_head_of_its_own_follows_the_chain(make: Maker, mix: str) -> None:
    written = make(UNTIED, mix)
    answer = load(written.path, 2).generate([300], SamplingParams(max_tokens=48, temperature=0))
    assert share_on_chain(written.chain, [300, *answer.tokens]) == 1
    assert answer.stats.draft_n_accepted > 0


def test_any_token_leads_into_the_chain(make: Maker) -> None:
    written = make(TIED, "Q4_K_M")
    llm = load(written.path, 0)
    chain = written.chain
    rng = np.random.default_rng(0)
    for token in rng.integers(0, TIED.shapes.vocab, 40).tolist():
        logits = llm.logits([int(rng.integers(256)), token])
        assert int(logits.argmax()) == chain.tokens[chain.follower[token]]


def test_text_sampled_at_temperature_1_follows_the_chain(make: Maker) -> None:
    written = make(TIED, "Q4_K_M")
    params = SamplingParams(max_tokens=400, temperature=1, top_k=0, top_p=1, min_p=0, seed=1)
    answer = load(written.path, 3).generate([300], params)
    assert share_on_chain(written.chain, [300, *answer.tokens]) > 0.97


def test_layers_contribute_and_depend_on_the_context(make: Maker) -> None:
    llm = load(make(TIED, "Q4_K_M").path, 0)
    one, other = (llm.logits([*before, 500]) for before in ([300, 301], [700, 701]))
    assert one.argmax() == other.argmax()
    assert 0.01 < np.std(one - other) < 1


# --- Acceptance


@pytest.mark.parametrize("accept", [0.3, 0.8])
def test_drafts_are_right_at_every_depth_with_the_same_chance(make: Maker, accept: float) -> None:
    written = make(TIED, "Q4_K_M", accept)
    chain = written.chain
    llm = load(written.path, 4)
    answer = llm.generate([300], SamplingParams(max_tokens=1500, temperature=0))
    stats = answer.stats
    tried, right = expected_by_depth(chain, [300, *answer.tokens], 4)
    assert list(stats.accepted_by_depth[:4]) == pytest.approx(right, abs=3)
    for depth in range(4):
        # Given that all drafts before were right. The text goes twice around a cycle of known
        # share, so chance is left only in where rounds begin; deep drafts are few all the same.
        sigma = sqrt(accept * (1 - accept) / tried[depth])
        assert right[depth] / tried[depth] == pytest.approx(accept, abs=3 * sigma)


def expected_by_depth(chain: Chain, tokens: list[int], drafts: int) -> tuple[list[int], list[int]]:
    """How often a draft of each depth follows right ones, and is right, by the chain alone."""
    tried, right = [0] * drafts, [0] * drafts
    at = 1  # the first token comes with the prompt
    while at < len(tokens) - 1:
        reach = min(drafts, len(tokens) - at - 1)
        depth = 0
        while depth < reach:
            tried[depth] += 1
            token = tokens[at + depth]
            if chain.drafted[token] != chain.follower[token]:
                break
            right[depth] += 1
            depth += 1
        at += depth + 1
    return tried, right


@pytest.mark.parametrize(("accept", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_drafts_can_be_always_wrong_or_always_right(
    make: Maker, accept: float, share: float
) -> None:
    written = make(TIED, "Q8_0", accept)
    params = SamplingParams(max_tokens=101, temperature=0)
    stats = load(written.path, 4).generate([300], params).stats
    assert stats.draft_n_accepted == share * stats.draft_n
    assert stats.rounds == (20 if accept else 100)


# --- What is in a file


@pytest.mark.parametrize("size", [TIED, UNTIED], ids=lambda size: size.name)
@pytest.mark.parametrize("mix", ["Q4_K_M", "Q4_1", "BF16"])
def test_a_file_is_a_whole_model(make: Maker, size: Size, mix: str) -> None:
    written = make(size, mix)
    about = describe(written.path, 128)
    assert about.problems == ()
    assert about.tied_head is size.tied
    assert about.size == written.bytes
    assert about.name == f"Rehearsal of {size.name} (synthetic)"
    plans = plan_tensors(size, find_mix(mix))
    with open_gguf(written.path) as file:
        found = {name: (info.shape, info.type) for name, info in file.tensors.items()}
        assert found == {plan.name: (plan.shape, plan.type) for plan in plans}
        assert sum(plan.nbytes for plan in plans) == sum(t.nbytes for t in file.tensors.values())


def test_no_tensor_is_mostly_zero(make: Maker) -> None:
    with open_gguf(make(UNTIED, "Q4_K_M").path) as file:
        for name, info in file.tensors.items():
            values = dequantise(file.data(name), info.type, info.rows, info.cols)
            assert np.isfinite(values).all(), name
            # Rows that read or write single elements are the only ones with many zeros.
            assert np.mean(values != 0) > 0.45, name


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    def data(seed: int) -> bytes:
        path = tmp_path / "same.gguf"
        write_rehearsal(path, TIED, find_mix("Q4_0"), Rehearsal(0.5, seed), overwrite=True)
        return path.read_bytes()

    first = data(0)
    assert first == data(0)
    assert first != data(1)


def test_a_file_says_that_it_is_synthetic(make: Maker) -> None:
    path = make(TIED, "Q8_0", 0.0).path
    with open_gguf(path) as file:
        assert is_synthetic(file.metadata)
        assert read_rehearsal(file.metadata) == Rehearsal(0.0, 0)
    notes = Notes()
    assert load(path, 0, progress=notes).rehearsal == Rehearsal(0.0, 0)
    assert any("made-up weights" in note for note in notes.texts)
    assert describe(path, 128).rehearsal == Rehearsal(0.0, 0)


class Notes(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def test_a_damaged_mark_is_an_error(make: Maker, tmp_path: Path) -> None:
    data = make(TIED, "Q4_K_M").path.read_bytes()
    value = np.float64(0.8).tobytes()
    for damaged in (2.0, np.nan):
        path = tmp_path / "damaged.gguf"
        path.write_bytes(data.replace(value, np.float64(damaged).tobytes(), 1))
        with pytest.raises(ModelError, match=r"headlong\.synthetic\.accept"):
            load(path, 0)


def test_a_trained_model_is_not_synthetic(tmp_path: Path) -> None:
    with open_gguf(write_tiny(tmp_path / "tiny.gguf").path) as file:
        assert not is_synthetic(file.metadata)
        assert read_rehearsal(file.metadata) is None


# --- Published sizes, without writing them


@pytest.mark.parametrize(
    ("like", "tensors", "vectors", "parameters"),
    [
        # Tensor counts and those in F32 are those of published files with an MTP head.
        ("qwen3.5-0.8b", 335, 176, 0.77e9),
        ("qwen3.5-2b", 335, 176, 1.94e9),
        ("qwen3.5-4b", 441, 232, 4.33e9),
        ("qwen3.5-9b", 442, 232, 9.2e9),
        ("qwen3.5-27b", 866, 456, 27.3e9),
        ("Qwen3.6-27B", 866, 456, 27.3e9),
    ],
)
def test_published_sizes(like: str, tensors: int, vectors: int, parameters: float) -> None:
    plans = plan_tensors(find_size(like), find_mix("Q4_K_M"))
    assert len(plans) == tensors
    assert sum(plan.type is GGMLType.F32 for plan in plans) == vectors
    assert sum(np.prod(plan.shape) for plan in plans) == pytest.approx(parameters, rel=0.01)


def test_the_largest_size_is_made_in_small_pieces() -> None:
    size = find_size("qwen3.5-27b")
    plans = plan_tensors(size, find_mix("Q8_0"))
    recipe, _ = recipe_for(replace_vocab(size, 20000), plans, Rehearsal(0.8))
    widest = {plan.shape: plan for plan in plans if len(plan.shape) == 2}
    for plan in widest.values():
        if plan.name.endswith("ssm_conv1d.weight"):
            continue
        piece = next(recipe.matrix(plan.name, plan.type, plan.shape[1], plan.shape[0]))
        assert piece.shape[1] == plan.type.row_bytes(plan.shape[0])
        assert piece.nbytes <= 8 << 20


def replace_vocab(size: Size, vocab: int) -> Size:
    return replace(size, shapes=replace(size.shapes, vocab=vocab))


# --- Refusals


def test_there_must_be_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000_000))
    with pytest.raises(GGUFError, match=r"takes 0\.1 GB, but .* has only 0\.0 GB free"):
        write_rehearsal(tmp_path / "big.gguf", TIED, find_mix("F32"), Rehearsal(0.5))
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_only_replaced_on_demand(tmp_path: Path) -> None:
    path = tmp_path / "there.gguf"
    path.write_bytes(b"precious")
    with pytest.raises(ParameterError, match=r"there\.gguf is there already"):
        write_rehearsal(path, TIED, find_mix("Q4_0"), Rehearsal(0.5))
    assert path.read_bytes() == b"precious"
    write_rehearsal(path, TIED, find_mix("Q4_0"), Rehearsal(0.5), overwrite=True)
    assert describe(path, 128).problems == ()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(GGUFError, match="there is no folder"):
        write_rehearsal(tmp_path / "no" / "x.gguf", TIED, find_mix("Q4_0"), Rehearsal(0.5))


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_rehearsal(
            tmp_path / "x.gguf", TIED, find_mix("Q4_0"), Rehearsal(0.5), progress=Interrupting()
        )
    assert list(tmp_path.iterdir()) == []


class Interrupting(Silent):
    def advance(self, amount: int) -> None:
        raise KeyboardInterrupt


def test_progress_adds_up(tmp_path: Path) -> None:
    progress = Counting()
    write_rehearsal(
        tmp_path / "x.gguf", TIED, find_mix("Q4_K_M"), Rehearsal(0.5), progress=progress
    )
    assert progress.done == progress.total > 1_000_000


class Counting(Silent):
    done = total = 0

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[Counting]:
        assert unit == "B"
        self.total += total
        yield self

    def advance(self, amount: int) -> None:
        self.done += amount


@pytest.mark.parametrize("hidden", [768, 1024 + 128])
def test_a_hidden_size_without_room_for_codes(tmp_path: Path, hidden: int) -> None:
    size = replace(TIED, shapes=replace(TIED.shapes, hidden=hidden))
    with pytest.raises(ParameterError, match=f"hidden size of {hidden}"):
        write_rehearsal(tmp_path / "x.gguf", size, find_mix("Q4_0"), Rehearsal(0.5))


def test_a_vocabulary_without_room_for_words(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="400 tokens is too small"):
        write_rehearsal(
            tmp_path / "x.gguf", replace_vocab(TIED, 400), find_mix("Q4_0"), Rehearsal(0.5)
        )


@pytest.mark.parametrize("accept", [-0.1, 1.01, float("nan"), float("inf")])
def test_a_chance_lies_between_0_and_1(accept: float) -> None:
    with pytest.raises(ParameterError, match="accept is"):
        Rehearsal(accept)


@pytest.mark.parametrize("seed", [-1, 1 << 32])
def test_a_seed_has_32_bits(seed: int) -> None:
    with pytest.raises(ParameterError, match="seed is"):
        Rehearsal(0.5, seed)


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(ParameterError, match=r"'qwen3\.5-3b'.*qwen3\.5-0\.8b, .*qwen3\.6-27b"):
        find_size("qwen3.5-3b")
    with pytest.raises(ParameterError, match=r"'Q9'.*F32, F16, .*MXFP4"):
        find_mix("Q9")


def test_types_within_blocks() -> None:
    """Q4_K_M of the 2B: 25 blocks; the eighth is 3, so 0-2, every third from 5 on, 21-24."""
    types = {
        plan.name: plan.type for plan in plan_tensors(find_size("qwen3.5-2b"), find_mix("q4_k_m"))
    }
    down = [types[f"blk.{block}.ffn_down.weight"] is GGMLType.Q6_K for block in range(25)]
    assert np.flatnonzero(down).tolist() == [0, 1, 2, 5, 8, 11, 14, 17, 20, 21, 22, 23, 24]
    values = [types[f"blk.{block}.attn_v.weight"] for block in (3, 7, 11, 15, 19, 23, 24)]
    # The six attention layers and the MTP block count as 0 to 6 of 25.
    assert [i for i, type in enumerate(values) if type is GGMLType.Q6_K] == [0, 1, 2, 5]
    assert types["blk.0.attn_qkv.weight"] is GGMLType.Q5_K
    assert types["blk.0.ssm_alpha.weight"] is GGMLType.F32
    assert types["blk.24.nextn.eh_proj.weight"] is GGMLType.Q4_K
    assert types["token_embd.weight"] is GGMLType.Q6_K
    assert Counter(types.values())[GGMLType.Q4_K] == 123


def test_types_of_the_tables_of_an_untied_model() -> None:
    types = {
        plan.name: plan.type for plan in plan_tensors(find_size("qwen3.5-9b"), find_mix("Q4_K_M"))
    }
    assert types["token_embd.weight"] is GGMLType.Q4_K
    assert types["output.weight"] is GGMLType.Q6_K


@pytest.mark.parametrize(
    ("mix", "expected"),
    [
        ("Q8_0", "Q8_0"),
        ("Q6_K", "Q6_K"),
        ("Q5_K_M", "Q5_K Q6_K"),
        ("Q5_K", "Q5_K Q6_K"),
        ("Q5_K_S", "Q5_K Q6_K"),
        ("Q5_1", "Q5_1 Q6_K"),
        ("Q5_0", "Q5_0 Q6_K"),
        ("Q4_K_M", "Q4_K Q5_K Q6_K"),
        ("Q4_K", "Q4_K Q5_K Q6_K"),
        ("Q4_K_S", "Q4_K Q5_K Q6_K"),
        ("Q4_1", "Q4_1 Q6_K"),
        ("Q4_0", "Q4_0 Q6_K"),
        ("IQ4_NL", "IQ4_NL Q5_K Q6_K"),
        ("IQ4_XS", "IQ4_XS Q5_K Q6_K"),
        ("Q3_K_L", "Q3_K Q4_K Q5_K Q6_K"),
        ("Q3_K_M", "Q3_K Q4_K Q5_K Q6_K"),
        ("Q3_K_S", "Q3_K Q6_K"),
        ("Q2_K", "Q2_K Q3_K Q4_K Q6_K"),
        ("F16", "F16"),
        ("BF16", "BF16"),
        ("F32", ""),
        ("MXFP4", "MXFP4 Q8_0"),
    ],
)
def test_types_of_each_mix(mix: str, expected: str) -> None:
    plans = plan_tensors(find_size("qwen3.5-4b"), find_mix(mix))
    found = {plan.type.name for plan in plans} - {"F32"}
    assert found == set(expected.split())
    for plan in plans:
        always = ("norm.weight", "ssm_a", "ssm_dt.bias", "ssm_conv1d.weight")
        if plan.name.endswith((*always, "ssm_alpha.weight", "ssm_beta.weight")):
            assert plan.type is GGMLType.F32
