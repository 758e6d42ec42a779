from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_spec import SMALL

from altered import alter
from headlong.cache.memory import Cache
from headlong.engine.load import LoadedModel, load_model
from headlong.errors import HeadlongError, ModelError, UnsupportedError
from headlong.gguf import open_gguf
from headlong.gguf.dequant import dequantise
from headlong.models.config import Qwen35Config
from headlong.ops.batch import Batch, FloatArray, Segment
from headlong.ops.cpu import CpuOps, CpuWeight
from headlong.ops.reference import ReferenceOps, ReferenceWeight
from headlong.progress import Silent, Stage
from tiny import TinySpec

Write = Callable[[TinySpec], Path]
PROMPT = [40, 41, 42, 43, 44, 45, 46]


class Watched(Silent):
    """Progress that remembers stages and notes."""

    def __init__(self) -> None:
        self.stages: dict[str, tuple[int, str]] = {}
        self.done: dict[str, int] = {}
        self.notes: list[str] = []
        self._open = ""

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[Stage]:
        self.stages[name] = (total, unit)
        self.done[name] = 0
        self._open = name
        yield self

    def advance(self, amount: int) -> None:
        assert amount >= 0
        self.done[self._open] += amount

    def note(self, text: str) -> None:
        self.notes.append(text)


def load(path: Path, *, mtp: bool = True) -> LoadedModel[ReferenceWeight]:
    return load_model(path, ReferenceOps(), Silent(), mtp=mtp)


def hidden_states(model: LoadedModel[ReferenceWeight], tokens: Sequence[int]) -> FloatArray:
    """Of a prompt, after the final norm."""
    cache = Cache(model.config, context=64, sequences=1, kv_type="f16", max_draft=0, mtp=False)
    lease = cache.lease()
    ids = np.array(tokens, np.int32)
    segment = Segment(lease.slot, 0, ids, lease.reserve(ids.size), final=ids.size)
    return model.trunk.forward(Batch.of([segment]), cache.kv, cache.recurrent)


def logits(path: Path) -> FloatArray:
    model = load(path, mtp=False)
    return model.trunk.logits(hidden_states(model, PROMPT))


def tensor_names(path: Path) -> list[str]:
    with open_gguf(path) as file:
        return list(file.tensors)


# One block of each kind: delta-net, attention, head.
NAMES = [
    "token_embd.weight",
    "output_norm.weight",
    *(
        f"blk.0.{name}"
        for name in (
            "attn_norm.weight",
            "attn_qkv.weight",
            "attn_gate.weight",
            "ssm_alpha.weight",
            "ssm_beta.weight",
            "ssm_conv1d.weight",
            "ssm_a",
            "ssm_dt.bias",
            "ssm_norm.weight",
            "ssm_out.weight",
            "post_attention_norm.weight",
            "ffn_gate.weight",
            "ffn_up.weight",
            "ffn_down.weight",
        )
    ),
    *(
        f"blk.{block}.{name}.weight"
        for block in (3, 4)
        for name in (
            "attn_norm",
            "attn_q",
            "attn_k",
            "attn_v",
            "attn_q_norm",
            "attn_k_norm",
            "attn_output",
            "post_attention_norm",
            "ffn_gate",
            "ffn_up",
            "ffn_down",
        )
    ),
    *(f"blk.4.nextn.{name}.weight" for name in ("eh_proj", "enorm", "hnorm")),
]


def test_the_names_below_are_all_there_are(small: Path) -> None:
    kinds = {name for name in tensor_names(small) if not name.startswith(("blk.1", "blk.2"))}
    assert kinds == {*NAMES, "output.weight", "blk.4.nextn.shared_head_norm.weight"}


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_tensor_is_named(small: Path, tmp_path: Path, name: str) -> None:
    path = alter(small, tmp_path / "missing.gguf", without=[name])
    with pytest.raises(ModelError, match=rf"{path}: tensor '{name}' is missing"):
        load(path)


@pytest.mark.parametrize("name", [*NAMES[1:], "output.weight"])
def test_a_tensor_of_another_shape_is_named_with_both(
    small: Path, tmp_path: Path, name: str
) -> None:
    with open_gguf(small) as file:
        shape = file.tensors[name].shape
    wrong = (shape[0] + 32, *shape[1:])
    tensors = {name: np.zeros(wrong[::-1], np.float32)}
    path = alter(small, tmp_path / "shape.gguf", tensors=tensors)
    with pytest.raises(ModelError) as caught:
        load(path)
    message = str(caught.value)
    assert f"tensor '{name}' has shape {list(wrong)}" in message
    assert str(list(shape)) in message


def test_trailing_dimensions_of_one_do_not_count(small: Path, tmp_path: Path) -> None:
    norm = np.full((1, 64), 1.5, np.float32)
    flat = alter(small, tmp_path / "a.gguf", tensors={"output_norm.weight": norm[0]})
    wide = alter(small, tmp_path / "b.gguf", tensors={"output_norm.weight": norm})
    assert logits(flat).tobytes() == logits(wide).tobytes()


def test_an_embedding_of_another_width_is_named(small: Path, tmp_path: Path) -> None:
    path = alter(
        small,
        tmp_path / "wide.gguf",
        tensors={"token_embd.weight": np.zeros((320, 96), np.float32)},
    )
    with pytest.raises(ModelError, match=r"'token_embd.weight' has shape \[96, 320\]"):
        load(path)


def test_a_vocabulary_larger_than_the_table_is_refused(small: Path, tmp_path: Path) -> None:
    path = alter(
        small,
        tmp_path / "short.gguf",
        tensors={"token_embd.weight": np.zeros((300, 64), np.float32)},
    )
    with pytest.raises(ModelError, match=r"vocabulary has 320 tokens.*only 300 rows"):
        load(path)


def test_tensors_without_a_place_are_named(small: Path, tmp_path: Path) -> None:
    extra = {f"blk.0.extra_{i}.weight": np.zeros(4, np.float32) for i in range(6)}
    path = alter(small, tmp_path / "extra.gguf", tensors=extra)
    with pytest.raises(ModelError) as caught:
        load(path)
    message = str(caught.value)
    assert "6 tensors have no place in architecture 'qwen35'" in message
    assert "blk.0.extra_0.weight, blk.0.extra_1.weight" in message
    assert message.endswith(", ....")
    one = alter(small, tmp_path / "one.gguf", tensors={"rope_freqs.weight": extra.popitem()[1]})
    with pytest.raises(ModelError, match=r"rope_freqs\.weight\.$"):
        load(one)


def test_a_tensor_of_a_later_block_than_the_head_has_no_place(small: Path, tmp_path: Path) -> None:
    path = alter(
        small, tmp_path / "later.gguf", copies={"blk.40.ffn_up.weight": "blk.0.ffn_up.weight"}
    )
    for mtp in (True, False):
        with pytest.raises(ModelError, match=r"blk\.40\.ffn_up\.weight"):
            load(path, mtp=mtp)


def test_a_weight_type_without_kernel_is_named_with_its_tensor(write: Write) -> None:
    path = write(replace(SMALL, hidden=256, weights_by_name=(("blk.1.ffn_up", "TQ2_0"),)))
    with pytest.raises(UnsupportedError, match=r"blk\.1\.ffn_up\.weight.*TQ2_0"):
        load_model(path, CpuOps(1), Silent())


@pytest.mark.parametrize("mtp", [True, False])
@pytest.mark.parametrize("backend", [ReferenceOps, CpuOps])
def test_progress_ends_at_its_total(
    small: Path, mtp: bool, backend: type[ReferenceOps | CpuOps]
) -> None:
    progress = Watched()
    load_model(small, backend(), progress, mtp=mtp)  # type: ignore[arg-type]
    total, unit = progress.stages["weights"]
    assert unit == "B"
    assert progress.done["weights"] == total > 0
    assert progress.done["tokenizer"] == progress.stages["tokenizer"][0]
    with open_gguf(small) as file:
        every = sum(t.nbytes for t in file.tensors.values())
        head = sum(t.nbytes for n, t in file.tensors.items() if n.startswith("blk.4."))
    assert total == (every if mtp else every - head)


def test_weights_outlive_the_file(small: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(small.read_bytes())
    model = load(copy, mtp=False)
    before = model.trunk.logits(hidden_states(model, PROMPT))
    copy.write_bytes(bytes(copy.stat().st_size))
    after = model.trunk.logits(hidden_states(model, PROMPT))
    assert before.tobytes() == after.tobytes()


def test_metadata_that_nothing_reads_is_mentioned(small: Path, tmp_path: Path) -> None:
    keys = {"qwen35.logit_scale": 2.0, "qwen35.vocab_size": 320, "other.logit_scale": 3.0}
    progress = Watched()
    load_model(alter(small, tmp_path / "more.gguf", keys=keys), ReferenceOps(), progress)
    assert len(progress.notes) == 1
    assert "'qwen35.logit_scale' is not known" in progress.notes[0]


def test_a_check_comes_before_any_weight(small: Path) -> None:
    progress = Watched()

    def refuse(config: Qwen35Config) -> None:
        raise ModelError(f"not with {config.context} positions")

    with pytest.raises(ModelError, match="not with 4096 positions"):
        load_model(small, ReferenceOps(), progress, check=refuse)
    assert progress.stages == {}


# --- Layouts that mean the same


def test_fused_query_key_and_value_are_the_same_as_split_ones(small: Path, tmp_path: Path) -> None:
    parts = [f"blk.3.attn_{name}.weight" for name in "qkv"]
    with open_gguf(small) as file:
        blocks = [file.data(name).reshape(file.tensors[name].rows, -1) for name in parts]
        dense = [_dense(small, name) for name in parts]
    assert len({part.shape[1] for part in blocks}) == 1
    split = alter(small, tmp_path / "s.gguf", tensors=dict(zip(parts, dense, strict=True)))
    fused = alter(
        split,
        tmp_path / "f.gguf",
        without=parts,
        tensors={"blk.3.attn_qkv.weight": np.concatenate(dense)},
    )
    assert logits(fused).tobytes() == logits(split).tobytes()
    both = alter(split, tmp_path / "b.gguf", copies={"blk.3.attn_qkv.weight": parts[0]})
    with pytest.raises(ModelError, match=r"blk\.3\.attn_qkv\.weight' has shape"):
        load(both)


def test_split_and_fused_together_leave_the_split_ones_without_a_place(write: Write) -> None:
    path = write(replace(SMALL, fused_qkv=True))
    assert load(path).head is not None  # the head's own matrices may be fused too
    name = "blk.3.attn_k.weight"
    extra = alter(path, path.with_name("extra.gguf"), tensors={name: np.zeros((32, 64))})
    with pytest.raises(ModelError, match=r"blk\.3\.attn_k\.weight"):
        load(extra)


def test_a_tied_head_is_the_embedding_table(small: Path, tmp_path: Path) -> None:
    tied = alter(small, tmp_path / "tied.gguf", without=["output.weight"])
    copied = alter(tied, tmp_path / "copied.gguf", copies={"output.weight": "token_embd.weight"})
    assert logits(tied).tobytes() == logits(copied).tobytes()
    assert logits(tied).tobytes() != logits(small).tobytes()
    model = load(tied)
    assert model.trunk.head is model.trunk.embedding
    assert model.head is not None
    assert model.head.head is model.trunk.embedding
    assert load(small).trunk.head is not load(small).trunk.embedding


# --- The head


def test_a_file_without_a_head(write: Write) -> None:
    path = write(replace(SMALL, mtp=False))
    progress = Watched()
    model = load_model(path, ReferenceOps(), progress)
    assert model.head is None
    assert model.config.mtp_layers == 0
    assert progress.notes == []


def test_a_head_that_is_not_wanted_stays_in_the_file(small: Path) -> None:
    progress = Watched()
    model = load_model(small, ReferenceOps(), progress, mtp=False)
    assert model.head is None
    assert progress.notes == []
    assert logits(small).shape == (len(PROMPT), 320)


def test_a_head_that_is_announced_and_not_there_is_named(small: Path, tmp_path: Path) -> None:
    gone = [name for name in tensor_names(small) if name.startswith("blk.4.")]
    path = alter(small, tmp_path / "gone.gguf", without=gone)
    with pytest.raises(ModelError, match=r"'blk\.4\.[a-z_.]+' is missing"):
        load(path)
    assert load(path, mtp=False).head is None


def test_a_head_that_is_there_and_not_announced_is_mentioned(small: Path, tmp_path: Path) -> None:
    path = alter(
        small,
        tmp_path / "silent.gguf",
        keys={"qwen35.block_count": 4},
        without=["qwen35.nextn_predict_layers"],
    )
    progress = Watched()
    model = load_model(path, ReferenceOps(), progress)
    assert model.head is None
    assert len(progress.notes) == 1
    assert "15 tensors of an MTP head" in progress.notes[0]
    assert "nextn_predict_layers is not set" in progress.notes[0]


def draft_logits(path: Path) -> FloatArray:
    """What the head makes of one hidden state and the token after it."""
    model = load(path)
    head = model.head
    assert head is not None
    cache = Cache(model.config, context=64, sequences=1, kv_type="f16", max_draft=0, mtp=True)
    assert cache.mtp_kv is not None
    lease = cache.lease()
    segment = Segment(lease.slot, 0, np.array([77], np.int32), lease.reserve(1), final=1)
    out = head.forward(Batch.of([segment]), hidden_states(model, [40]), cache.mtp_kv)
    (result,) = head.ops.linear(out, head.head)
    return result


TABLES = {
    "blk.4.nextn.embed_tokens.weight": "token_embd.weight",
    "blk.4.nextn.shared_head_head.weight": "output.weight",
}


def test_tables_of_its_own_take_the_place_of_the_trunks(small: Path, tmp_path: Path) -> None:
    shared = draft_logits(small)
    copied = alter(small, tmp_path / "copied.gguf", copies=TABLES)
    assert draft_logits(copied).tobytes() == shared.tobytes()
    model = load(copied)
    assert model.head is not None
    assert model.head.embedding is not model.trunk.embedding
    assert model.head.head is not model.trunk.head
    rng = np.random.default_rng(0)
    for name, source in TABLES.items():
        table = _dense(small, source)
        table[77:79] = rng.normal(size=(2, 64))  # the token that is read; two that are predicted
        own = alter(small, tmp_path / "own.gguf", tensors={name: table})
        differs = draft_logits(own)[0] != shared[0]
        if "head" in name:
            assert np.flatnonzero(differs).tolist() == [77, 78]
        else:
            assert differs.mean() > 0.9
        assert logits(own).tobytes() == logits(small).tobytes()


def test_a_norm_of_its_own_takes_the_place_of_the_trunks(small: Path, tmp_path: Path) -> None:
    name = "blk.4.nextn.shared_head_norm.weight"
    without = alter(small, tmp_path / "without.gguf", without=[name])
    same = alter(without, tmp_path / "same.gguf", copies={name: "output_norm.weight"})
    assert draft_logits(without).tobytes() == draft_logits(same).tobytes()
    assert draft_logits(without).tobytes() != draft_logits(small).tobytes()


@pytest.mark.parametrize("name", [*TABLES, "blk.4.nextn.shared_head_norm.weight"])
def test_a_table_of_another_shape_is_named(small: Path, tmp_path: Path, name: str) -> None:
    path = alter(small, tmp_path / "shape.gguf", tensors={name: np.zeros((7, 64), np.float32)})
    with pytest.raises(ModelError, match=rf"'{name}' has shape \[64, 7\]"):
        load(path)


def test_a_file_cut_off_at_any_place_is_refused(small: Path, tmp_path: Path) -> None:
    data = small.read_bytes()
    rng = np.random.default_rng(1)
    path = tmp_path / "cut.gguf"
    for length in rng.integers(1, len(data) - 1, 25):
        path.write_bytes(data[:length])
        with pytest.raises(HeadlongError, match=r"cut\.gguf"):
            load(path)


def _dense(path: Path, name: str) -> FloatArray:
    with open_gguf(path) as file:
        info = file.tensors[name]
        return dequantise(file.data(name), info.type, info.rows, info.cols)


def test_both_backends_load_the_same(small: Path) -> None:
    model: LoadedModel[CpuWeight] = load_model(small, CpuOps(1), Silent())
    reference = load(small)
    assert model.config == reference.config
    assert len(model.trunk.mixers) == len(reference.trunk.mixers) == 4
    ids = np.array([5, 319], np.int32)
    ours = model.trunk.ops.embed(model.trunk.embedding, ids)
    theirs = reference.trunk.ops.embed(reference.trunk.embedding, ids)
    assert ours.tobytes() == theirs.tobytes()
