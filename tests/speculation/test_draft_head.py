from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headlong.cache.memory import Cache
from headlong.engine.engine import Engine, Settings, TokenRoles
from headlong.engine.load import LoadedModel, load_model
from headlong.engine.requests import Completion, Requests
from headlong.ops.cpu import CpuOps, CpuWeight
from headlong.ops.reference import best_of
from headlong.progress import Silent
from headlong.sampling import MAX_DRAFT, SamplingParams
from headlong.speculation import CostTable, Fixed
from headlong.speculation.draft_head import MOST_EXTRA, DraftHead
from headlong.speculation.drafter import likeliest
from headlong.speculation.mtp import MTPDrafter
from tiny import Chain, TinySpec, write_tiny

SPEC = TinySpec(chain=Chain(misleading=0.0))
Model = LoadedModel[CpuWeight]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("draft_head") / "chain.gguf"
    write_tiny(path, SPEC)
    return load_model(Path(path), CpuOps(1), Silent())


def hidden(model: Model, rows: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(size=(rows, model.config.hidden)).astype(np.float32)


def test_a_small_vocabulary_is_used_whole(model: Model) -> None:
    assert model.head is not None
    head = DraftHead(model.head)
    head.include([1, 2, 300])
    assert head.subset is None
    assert head.logits(hidden(model, 2)).shape == (2, SPEC.vocab)


def test_columns_are_the_logits_of_the_full_head(model: Model) -> None:
    assert model.head is not None
    head = DraftHead(model.head, leading_rows=64)
    head.include([5, 200, 90, 200])
    assert head.subset is not None
    assert head.subset.ids.tolist() == [*range(64), 90, 200]
    rows = hidden(model, 3)
    expected = model.trunk.logits(rows)[:, head.subset.ids]
    got = head.logits(rows)
    # Leading columns come from the same kernel, added ones from float32 rows.
    assert got[:, :64].tobytes() == np.ascontiguousarray(expected[:, :64]).tobytes()
    np.testing.assert_allclose(got[:, 64:], expected[:, 64:], atol=0.05)


@pytest.mark.parametrize("leading_rows", [SPEC.vocab, 64])
def test_the_best_are_those_of_the_whole_row(model: Model, leading_rows: int) -> None:
    assert model.head is not None
    head = DraftHead(model.head, leading_rows)
    rows = hidden(model, 3) * 5
    for met in ([], [5, 200, 90], range(64, SPEC.vocab)):
        head.include(met)
        logits = head.logits(rows)
        ids = np.arange(SPEC.vocab) if head.subset is None else head.subset.ids
        expected = best_of(logits, 64, log_sums=True)
        best = head.best(rows, 64)
        assert best.ids.tolist() == ids[expected.ids].tolist()
        assert best.logits.tobytes() == expected.logits.tobytes()
        assert best.log_sums is not None
        assert expected.log_sums is not None
        np.testing.assert_allclose(best.log_sums, expected.log_sums, atol=1e-4)
        for row, some in zip(logits, best.rows(), strict=True):
            guess = likeliest(some, 0, None)
            whole = likeliest(row, 0, head.subset)
            assert guess.token == whole.token
            assert guess.probability == pytest.approx(whole.probability, rel=1e-4)


def test_what_is_no_logit_is_found_beside_added_rows(model: Model) -> None:
    assert model.head is not None
    head = DraftHead(model.head, 64)
    head.include([200])
    rows = hidden(model, 2)
    rows[1, 3] = np.nan
    best = head.best(rows, 40)
    assert np.isfinite(best.logits[0]).all()
    assert np.isnan(best.logits[1]).all()


def test_the_ids_met_longest_ago_go_first(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    assert model.head is not None
    monkeypatch.setattr("headlong.speculation.draft_head.MOST_EXTRA", 3)
    head = DraftHead(model.head, leading_rows=64)
    head.include([100, 101, 102])
    head.include([100])
    head.include([103])
    assert head.subset is not None
    assert head.subset.ids.tolist()[64:] == [100, 102, 103]
    assert MOST_EXTRA > 3


def complete(model: Model, leading_rows: int, draft_n: int) -> Completion:
    cache = Cache(
        model.config, context=256, sequences=1, kv_type="f16", max_draft=MAX_DRAFT, mtp=True
    )
    assert model.head is not None
    assert cache.mtp_kv is not None
    engine = Engine(
        model.trunk,
        cache,
        TokenRoles(frozenset(), ()),
        Settings(256, Fixed(draft_n)),
        MTPDrafter(model.head, cache.mtp_kv, leading_rows),
        CostTable(),
    )
    requests = Requests(engine, model.tokenizer)
    params = SamplingParams(max_tokens=120, temperature=0.7, seed=4)
    return requests.finish([requests.submit([40, 41], params)])[0]


def test_trimming_changes_acceptance_and_never_the_text(model: Model) -> None:
    whole = complete(model, SPEC.vocab, 3)
    trimmed = complete(model, 64, 3)
    plain = complete(model, SPEC.vocab, 0)
    assert whole.tokens == trimmed.tokens == plain.tokens
    assert 0 < trimmed.stats.draft_n_accepted < whole.stats.draft_n_accepted
