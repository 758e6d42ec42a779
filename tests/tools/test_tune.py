"""The measurements behind `headlong tune`: what is timed, and what is concluded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from headlong import LLM, SamplingParams
from headlong.engine.load import load_model
from headlong.engine.requests import Completion, Timings
from headlong.errors import HeadlongError, ParameterError
from headlong.models.rehearsal import Rehearsal
from headlong.ops.cpu import CpuOps, CpuWeight
from headlong.progress import Silent
from headlong.speculation import SpeculationStats
from headlong.speculation.mtp import MTPDrafter
from headlong.tools import tune as tool
from headlong.tools.samples import Samples
from headlong.tools.synth import find_mix, write_rehearsal
from headlong.tools.tune import QUICK, Plan, Tuning, tune
from headlong.tools.tune_model import AUTO, TunedModel
from rehearsal_sizes import TIED
from tiny import Chain, TinySpec, write_tiny

SMALL = Plan(max_draft=3, tokens=12, prompt=70, cycles=2, repeats=2)


@pytest.fixture(scope="module", autouse=True)
def little_memory() -> Iterator[None]:
    """Bandwidth is measured over a few MiB: these tests look at figures, not at their size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tool, "_BANDWIDTH_BYTES", 4 << 20)
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tune") / "chain.gguf"
    write_tiny(path, TinySpec(chain=Chain(), printable=True))
    return path


@pytest.fixture(scope="module")
def result(model: Path) -> Tuning:
    return tune(model, SMALL, CpuOps(1), Silent())


def test_every_length_is_answered_in_the_same_way(result: Tuning) -> None:
    assert [one.draft for one in result.decoding] == [0, 1, 2, 3, AUTO]
    assert result.identical
    assert result.differing == ()
    assert all(len(one.per_second.values) == 2 for one in result.decoding)


def test_drafts_have_the_length_asked_for(result: Tuning) -> None:
    assert [len(one.accepted) for one in result.decoding[:4]] == [0, 1, 2, 3]
    assert result.plain.tokens_per_round == 1
    assert result.plain.drafted == 0
    longest = result.decoding[3]
    assert 1 < longest.tokens_per_round <= 4
    # The last round is cut where the answer ends.
    assert 2 < longest.drafted <= 3
    assert 0 < longest.accepted[0] <= 1
    assert longest.draft_share > 0
    assert result.plain.draft_share == 0
    for one in result.decoding:
        assert one.pass_share > 0
        assert one.draft_share + one.pass_share + one.sampling_share < 1


def test_passes_and_drafts_are_timed(result: Tuning) -> None:
    assert [one.rows for one in result.passes] == list(range(1, 9))
    assert all(len(one.seconds.values) == SMALL.cycles for one in result.passes)
    assert result.passes[0].cost == 1
    single = result.passes[0].seconds.median
    assert result.passes[4].cost == pytest.approx(result.passes[4].seconds.median / single)
    assert result.drafts is not None and result.drafts.chained is not None
    # After every pass one first step, and two further ones.
    assert len(result.drafts.first.values) == 8 * SMALL.cycles
    assert len(result.drafts.chained.values) == 2 * 8 * SMALL.cycles
    assert result.drafts.first_cost == pytest.approx(result.drafts.first.median / single)
    assert result.drafts.chained_cost == pytest.approx(result.drafts.chained.median / single)


def test_more_rows_are_timed_for_longer_drafts(model: Path) -> None:
    plan = replace(SMALL, max_draft=9, tokens=2, cycles=1, repeats=1)
    assert [one.rows for one in tune(model, plan, CpuOps(1), Silent()).passes][-1] == 10


def test_prompts_are_read_on_both_sides(result: Tuning) -> None:
    reading = result.reading
    assert reading.tokens == 70
    assert reading.head is not None
    assert len(reading.plain.values) == len(reading.head.values) == SMALL.repeats
    assert reading.ratio == pytest.approx(reading.head.median / reading.plain.median)
    assert reading.identical


def test_shares_are_bytes_over_time_over_bandwidth(result: Tuning) -> None:
    known = replace(
        result,
        step_bytes=2_000_000_000,
        bandwidth=Samples((40.0,)),
        passes=(replace(result.passes[0], seconds=Samples((0.0625,))), *result.passes[1:]),
        decoding=(replace(result.plain, per_second=Samples((15.0,))), *result.decoding[1:]),
    )
    assert known.decode_share == pytest.approx(0.75)  # 30 of 40 GB/s
    assert known.pass_share == pytest.approx(0.8)  # 32 of 40 GB/s


def test_the_best_is_the_fastest_fixed_length(result: Tuning) -> None:
    rates = {0: 10.0, 1: 18.0, 2: 25.0, 3: 24.0, AUTO: 30.0}
    known = replace(
        result,
        decoding=tuple(
            replace(one, per_second=Samples((rates[one.draft], 1.0, 99.0)))
            for one in result.decoding
        ),
    )
    assert known.best.draft == 2
    assert known.speedup(known.best) == pytest.approx(2.5)
    assert known.speedup(known.decoding[-1]) == pytest.approx(3)


def test_the_prediction_is_costs_and_acceptance() -> None:
    """Of known costs: passes of 10 + rows ms, drafts of 4 and 2 ms, sampling 1 ms, 2 ms more."""
    passes = tuple(tool.Pass(rows, Samples(((10 + rows) / 1e3,)), 1.0) for rows in range(1, 9))
    drafts = tool.DraftSteps(Samples((0.004,)), 1.0, Samples((0.002,)), 1.0)
    made = [(draft, [_answer(draft)]) for draft in (0, 1, 2)]
    plain, one, two = tool._decoding(made, passes, drafts)
    # Without drafts 20 rounds: 11 ms pass, 1 ms sampling, 2 ms bookkeeping.
    assert plain.predicted == pytest.approx(1 / 0.014)
    # The longest drafts were right 8 times in 10 at depth 1, 6 in 10 at depth 2.
    assert two.accepted == pytest.approx((0.8, 0.6))
    assert one.predicted == pytest.approx(1.8 / (0.012 + 2 * 0.001 + 0.002 + 0.004))
    assert two.predicted == pytest.approx(2.4 / (0.013 + 3 * 0.001 + 0.002 + 0.006))


def _answer(draft: int) -> Completion:
    stats = SpeculationStats()
    if draft == 0:
        for _ in range(20):
            stats.record(0, 0)
        stats.spend(verify=20 * 0.011, sampling=20 * 0.001)
        seconds = 20 * 0.014
    else:
        for round_ in range(10):
            stats.record(draft, min(draft, 2 if round_ < 6 else 1 if round_ < 8 else 0))
        seconds = 0.2
    return Completion("", (), (), "length", None, 1, stats, Timings(4, 0.1, 21, seconds))


def test_answers_run_in_turns(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[int | str] = []
    answer = TunedModel.answer

    def noted(self: TunedModel, prompt: list[int], drafting: int | str, tokens: int) -> Completion:
        order.append(drafting)
        return answer(self, prompt, drafting, tokens)

    monkeypatch.setattr(TunedModel, "answer", noted)
    tune(model, replace(SMALL, max_draft=2, tokens=2, cycles=1), CpuOps(1), Silent())
    warm_up = [0, 2, AUTO]
    assert order == warm_up + [0, 1, 2, AUTO] * 2


def test_another_token_is_found(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = TunedModel.answer

    def broken(self: TunedModel, prompt: list[int], drafting: int | str, tokens: int) -> Completion:
        made = answer(self, prompt, drafting, tokens)
        if drafting != 2:
            return made
        return replace(made, tokens=(*made.tokens[:-1], made.tokens[-1] ^ 1))

    monkeypatch.setattr(TunedModel, "answer", broken)
    found = tune(model, replace(SMALL, cycles=1, repeats=1), CpuOps(1), Silent())
    assert found.differing == (2,)
    assert not found.identical


def test_a_prompt_read_to_another_token_is_found(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = TunedModel.read

    def broken(self: TunedModel, prompt: list[int], *, head: bool) -> tuple[float, int]:
        seconds, token = read(self, prompt, head=head)
        return seconds, token + head

    monkeypatch.setattr(TunedModel, "read", broken)
    found = tune(model, replace(SMALL, cycles=1, repeats=1), CpuOps(1), Silent())
    assert found.differing == ()
    assert not found.identical


def test_a_model_without_a_head(tmp_path: Path) -> None:
    path = tmp_path / "headless.gguf"
    write_tiny(path, TinySpec(mtp=False))
    found = tune(path, replace(SMALL, cycles=1, repeats=1), CpuOps(1), Silent())
    assert [one.draft for one in found.decoding] == [0]
    assert found.drafts is None
    assert found.reading.head is None and found.reading.ratio is None
    assert len(found.passes) == 8
    assert found.identical
    assert found.best is found.plain


def test_a_rehearsal_says_so_and_follows_its_chain(tmp_path: Path) -> None:
    path = tmp_path / "rehearsal.gguf"
    write_rehearsal(path, TIED, find_mix("Q8_0"), Rehearsal(1.0, 0))
    found = tune(path, replace(SMALL, tokens=20, repeats=1), CpuOps(1), Silent())
    assert found.rehearsal == Rehearsal(1.0, 0)
    assert found.context == 16  # words of its own, not the text that others get
    assert found.decoding[3].accepted[0] > 0.9


def test_passes_come_after_the_context_asked_for(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    rounds = TunedModel.rounds

    def noted(self: TunedModel, script: list[int], start: int, *more: object) -> object:
        begun.append(start)
        return rounds(self, script, start, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(TunedModel, "rounds", noted)
    found = tune(model, replace(SMALL, context=300, cycles=1, repeats=1), CpuOps(1), Silent())
    assert begun == [300]
    assert found.context == 300
    shorter = tune(model, replace(SMALL, cycles=1, repeats=1), CpuOps(1), Silent())
    assert found.step_bytes > shorter.step_bytes  # a longer KV cache is read


def test_rounds_draft_what_decoding_would(model: Path) -> None:
    """Timed rounds do the work of real ones: on the model's own text the drafts are the same."""
    ops = CpuOps(1)
    loaded = load_model(model, ops, Silent())
    llm = LLM(model, draft_n_max=3, context=512)
    prompt = llm.tokenizer.encode("hello world")
    text = llm.generate(prompt, SamplingParams(max_tokens=60, temperature=0, ignore_eos=True))
    script = [*prompt, *text.tokens]
    drafted: list[list[int]] = []
    draft = MTPDrafter.draft

    def noted(self: MTPDrafter[CpuWeight], requests: list[object]) -> object:
        guesses, times = draft(self, requests)  # type: ignore[arg-type]
        drafted.extend([guess.token for guess in own] for own in guesses)
        return guesses, times

    tuned = TunedModel(loaded, 512)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MTPDrafter, "draft", noted)
        list(tuned.rounds(script, len(prompt), (1, 2, 4, 3), 3, 1))
    first, repeated = drafted[:4], drafted[4:]
    # The second cycle overwrites the first and finds the same keys and values below it.
    assert len(first) == len(repeated) == 4
    position = len(prompt)
    right = 0
    for guesses, rows in zip(first, (1, 2, 4, 3), strict=True):
        position += rows
        right += guesses[0] == script[position + 1]
        assert len(guesses) == 3
    assert right >= 2  # the head is right on 7 tokens of 10


def test_progress_counts_all_that_is_done(model: Path) -> None:
    done: dict[str, list[int]] = {}

    class Counted(Silent):
        @contextmanager
        def stage(self, name: str, total: int, unit: str) -> Iterator[Counted]:
            done[name] = [0, total]
            self.name = name
            yield self

        def advance(self, amount: int) -> None:
            done[self.name][0] += amount

    tune(model, replace(SMALL, cycles=1), CpuOps(1), Counted())
    assert set(done) >= {"reading prompts", "timing passes", "timing answers"}
    assert all(count == total for count, total in done.values())


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"max_draft": 0}, "--max-draft is 0"),
        ({"max_draft": 16}, "--max-draft is 16"),
        ({"tokens": 1}, "--tokens is 1"),
        ({"context": -1}, "--context is -1"),
        ({"repeats": 0}, "repeats is 0"),
    ],
)
def test_plans_that_cannot_be(values: dict[str, int], wanted: str) -> None:
    with pytest.raises(ParameterError, match=wanted):
        replace(QUICK, **values)


def test_more_than_the_model_was_trained_for(model: Path) -> None:
    with pytest.raises(ParameterError, match="--context and --tokens come to 9040 positions"):
        tune(model, replace(SMALL, context=9000), CpuOps(1), Silent())


def test_drafts_of_a_model_without_a_head_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "headless.gguf"
    write_tiny(path, TinySpec(mtp=False))
    ops = CpuOps(1)
    tuned = TunedModel(load_model(path, ops, Silent()), 64)
    with pytest.raises(HeadlongError, match="without an MTP head"):
        tuned.answer([1, 2], 2, 4)


def test_costs_are_kept_for_the_engine(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADLONG_CACHE", str(tmp_path))
    tune(model, replace(SMALL, cycles=1, repeats=1), CpuOps(1), Silent())
    (file,) = tmp_path.iterdir()
    monkeypatch.setattr("headlong.engine.calibrate.SPREAD", 1e9)  # whatever this machine is doing
    monkeypatch.setattr("headlong.engine.calibrate.measure_costs", None)  # not called
    LLM(model, context=256, threads=1, sequences=1).close()
    assert list(tmp_path.iterdir()) == [file]
