"""Batches, schedule, checkpoint and resume of a training run."""

# ruff: noqa: E402 (without PyTorch the module must be skipped before these imports)

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training code needs PyTorch")

from small_qwen35 import SMALL, small_model
from training.batches import MIXTURE, Batches
from training.checkpoint import Clock, load_model, save_checkpoint
from training.decode import generate
from training.evaluate import acceptance_by_depth, nats_per_token

from training import train

pytestmark = pytest.mark.training

END = SMALL.vocab - 1
LENGTHS = (40, 90, 3, 200, 61)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Streams whose tokens count upwards from each document's start, behind END."""
    texts = [np.array([END, *(np.arange(n) % END)], dtype=np.uint16) for n in LENGTHS]
    starts = np.cumsum([0, *map(len, texts)])[:-1]
    for part in ("train", "held"):
        for stream in MIXTURE:
            np.savez(tmp_path / f"{part}-{stream}.npz", tokens=np.concatenate(texts), starts=starts)
    return tmp_path


def test_rows_are_cut_from_documents(data: Path) -> None:
    rows = Batches(data, seed=0).draw(64, 16).numpy()
    assert rows.shape == (64, 16)
    follows = rows[:, 1:] == (rows[:, :-1] + 1) % END
    breaks = (rows[:, 1:] == END) | (rows[:, :-1] == END)
    assert (follows | breaks).mean() > 0.99  # a stream is rolled, so one row has a seam
    assert len(np.unique(rows, axis=0)) > 8


def test_conversations_start_rows_without_an_end_of_text_mark(data: Path) -> None:
    batches = Batches(data, seed=0)
    rows = [next(batches._endless("chat", 32)) for _ in range(8)]
    assert all(row[0] == 0 and (row != END).sum() >= 31 for row in rows)


def test_a_stream_is_used_up_before_it_repeats(data: Path) -> None:
    rows = Batches(data, seed=0)._endless("library", 20)
    total = sum(LENGTHS) + len(LENGTHS)
    once = np.concatenate([next(rows) for _ in range(total // 20)])
    tokens = np.load(data / "train-library.npz")["tokens"]
    missing = np.bincount(tokens, minlength=64) - np.bincount(once, minlength=64)
    assert missing.min() >= 0 and missing.sum() == total % 20


def test_the_same_seed_draws_the_same_rows(data: Path) -> None:
    first, again, other = (Batches(data, seed=s).draw(16, 20) for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_learning_rate_warms_up_stays_and_falls_to_zero() -> None:
    shares = [train.learning_rate_share(i / 1000) for i in range(1001)]
    assert 0 < shares[0] < 0.1
    peak = shares.index(1.0)
    assert peak == pytest.approx(1000 * train.WARM_UP, abs=1)
    assert shares[:peak] == sorted(shares[:peak])
    assert shares[int(1000 * train.PLATEAU_ENDS)] == pytest.approx(1.0, abs=0.01)
    assert shares[-1] == 0.0
    assert shares[peak:] == sorted(shares[peak:], reverse=True)


def test_every_parameter_has_exactly_one_optimiser() -> None:
    model = small_model()
    optimisers = train.build_optimisers(model)
    held = [id(p) for o in optimisers for g in o.param_groups for p in g["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    assert all(p.ndim == 2 for p in optimisers[0].param_groups[0]["params"])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small model and short rows in place of the real ones."""
    monkeypatch.setattr(train, "Config", lambda: SMALL)
    monkeypatch.setattr(train, "SHAPES", ((0.0, 4, 64), (0.6, 1, 256)))
    monkeypatch.setattr(train, "LOG_EVERY", 1)
    monkeypatch.setattr("training.evaluate.LENGTH", 32)


@pytest.mark.usefixtures("quick")
def test_a_run_learns_stops_at_its_budget_and_goes_on_after_it(data: Path) -> None:
    folder = data / "run"
    run = train.Run(folder, data, minutes=4 / 60, compiled=False)
    run.train()
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in log if "loss" in entry]
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.5
    assert log[-1]["held_out"].keys() == MIXTURE.keys()
    model, clock = load_model(folder / "checkpoint.pt")
    assert clock.step == len(losses) and clock.seconds >= 4
    for name, parameter in run.model.named_parameters():
        assert torch.equal(parameter, model.get_parameter(name))

    resumed = train.Run(folder, data, minutes=1, compiled=False)
    assert resumed.clock.step == clock.step
    moments = [o.state_dict()["state"] for o in (*run.optimisers, *resumed.optimisers)]
    assert torch.equal(moments[0][0]["momentum"], moments[2][0]["momentum"])
    assert torch.equal(moments[1][0]["exp_avg"], moments[3][0]["exp_avg"])
    entry = resumed.step()
    assert entry["step"] == clock.step + 1
    assert entry["loss"] < np.mean(losses[:3]) - 0.5


@pytest.mark.usefixtures("quick")
def test_a_signal_ends_the_run_with_a_checkpoint(data: Path) -> None:
    run = train.Run(data / "run", data, minutes=10, compiled=False)
    run.stop(15, None)
    run.train()
    assert run.clock.step == 0 and run.checkpoint.exists()


def test_a_failed_save_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = small_model(), tmp_path / "checkpoint.pt"
    save_checkpoint(path, model, train.build_optimisers(model), Clock(step=7))

    def fail(state: object, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, model, [], Clock(step=8))
    assert load_model(path)[1].step == 7


def test_loss_of_a_model_that_knows_nothing_is_the_logarithm_of_the_vocabulary() -> None:
    model = small_model()
    torch.nn.init.zeros_(model.token_embd.weight)
    rows = torch.randint(SMALL.vocab, (3, 33))
    assert nats_per_token(model, rows) == pytest.approx(np.log(SMALL.vocab), rel=1e-3)


def test_acceptance_counts_are_those_of_drafting_by_hand() -> None:
    """Along text the model wrote itself: draft four from every position, compare with the text."""
    model = small_model(replace(SMALL, vocab=2))  # so few tokens that drafts are often right
    prompts = torch.randint(2, (6, 6), generator=torch.Generator().manual_seed(1))
    text = torch.cat([prompts, generate(model, prompts, 21)], dim=1)
    counts = [[0, 0] for _ in range(4)]
    with torch.no_grad():
        for row in text:
            hidden = model.trunk(row[None])
            for known in range(6, 23):  # row[known] is the newest token, hidden[known - 1] true
                drafts: list[int] = []
                for depth in range(4):
                    fed = torch.tensor([[*row[1 : known + 1].tolist(), *drafts]])
                    chained = model.mtp(model.token_embd(fed), hidden[:, :known], steps=depth + 1)
                    drafts.append(int(model.logits(chained[depth][0, -1]).argmax()))
                for depth, draft in enumerate(drafts):
                    counts[depth][0] += 1
                    if draft != int(row[known + 1 + depth]):
                        break
                    counts[depth][1] += 1
    assert acceptance_by_depth(model, text[:, :-1], first=6) == [tuple(c) for c in counts]
    assert counts[0][0] == 6 * 17
    assert counts[2][1] > 0
