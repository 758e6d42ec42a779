"""The comparison itself: turns, rates, what counts as the same, and what is written down."""

from __future__ import annotations

import json
import shlex
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.chart import draw
from benchmarks.headlong_arm import headlong_arm
from benchmarks.models import Turns, conclude, run
from benchmarks.noise import CpuTimes, Noise
from benchmarks.record import (
    FOLDER,
    ArmResult,
    Difference,
    File,
    Report,
    Settings,
    TypeCount,
    compare,
    load,
    load_all,
)
from benchmarks.session import AUTO, PLAIN, Answer, Arm, PeerError, Piece, Session, Setup
from benchmarks.table import markdown

from benchmarks import models, readme_table
from headlong import LLM, SamplingParams
from headlong.models.rehearsal import Rehearsal
from headlong.tools.synth import find_mix, write_rehearsal
from rehearsal_sizes import TIED
from tiny import Chain, TinySpec, write_tiny

ENGINE = Path(__file__).with_name("fake_engine.py")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "chain.gguf"
    write_tiny(path, TinySpec(chain=Chain(), printable=True))
    return path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "BANDWIDTH_BYTES", 1 << 20)
    monkeypatch.setattr(models, "busy_now", lambda: 0.0)


def answer(tokens: Sequence[int], seconds: float = 1.0, **more: int) -> Answer:
    """The first token after half a second, the others at once ``seconds`` later."""
    first, later = tuple(tokens[:1]), tuple(tokens[1:])
    pieces = (Piece(0.5, 1, first, "a"), Piece(0.5 + seconds, len(later), later, "b" * len(later)))
    return Answer(pieces, **more)


def turns(
    engine: str, draft: int | str, answers: list[Answer], name: str = "code", noisy: bool = False
) -> Turns:
    mode = "plain" if draft == PLAIN else f"n = {draft}"
    arm = Arm(engine, mode, draft, "1", "", lambda setup: None)  # type: ignore[arg-type,return-value]
    noise = [Noise(0.5 if noisy else 0.0, 0.0)] * len(answers)
    return Turns(arm, [100.0] * len(answers), {name: answers}, noise)


SETTINGS = Settings(tokens=9, prefill=100, context=200, threads=2, repeats=2, prompts=("code",))
FILE = File(
    name="m.gguf",
    model="M",
    bytes=2_000_000_000,
    parameters=3_000_000_000,
    step_bytes=2_000_000_000,
    types=(TypeCount("Q4_K", 7, 1_500_000_000), TypeCount("F32", 9, 500_000_000)),
    accept=None,
)
MACHINE: dict[str, str | int] = {
    "processor": "Some <fast> CPU", "cores": 2, "memory": 8 << 30, "isa": "avx9",
}  # fmt: skip


def report(*arms: ArmResult, accept: float | None = None) -> Report:
    return Report(
        "2026-01-02T03:04:05+00:00", MACHINE, (50.0, 40.0, 60.0), replace(FILE, accept=accept),
        SETTINGS, arms,
    )  # fmt: skip


@pytest.fixture
def both() -> Report:
    """Headlong gains twofold without a difference; the peer loses, and its drafts change a text."""
    same, other = [1, 2, 3, 4, 5], [1, 2, 3, 9, 5]
    return report(
        *conclude(
            [
                turns("headlong", PLAIN, [answer(same, 0.2), answer(same, 0.25)]),
                turns("headlong", 2, [answer(same, 0.1, drafted=4, accepted=3)] * 2),
                turns("peer", PLAIN, [answer(same, 0.4)] * 2),
                turns("peer", 1, [answer(other, 0.5)] * 2, noisy=True),
            ]
        )
    )


def test_turns_alternate(model: Path) -> None:
    log: list[str] = []

    def arm(name: str) -> Arm:
        class Fake:
            def generate(self, prompt: Sequence[int], tokens: int) -> Answer:
                log.append(f"{name} {len(prompt)} {tokens}")
                return answer(range(tokens))

        @contextmanager
        def opened(setup: Setup) -> Iterator[Session]:
            log.append(f"{name} opens")
            yield Fake()
            log.append(f"{name} closes")

        return Arm(name, "plain", PLAIN, "1", "", opened)

    said: list[str] = []
    setup = Setup(model, 200, 1)
    prompts = {"code": [1, 2, 3], "prose": [4, 5]}
    found = run(setup, [arm("A"), arm("B")], prompts, SETTINGS, said.append)

    def turn(name: str) -> list[str]:
        # Loaded, warmed up, asked for the prompt and for every answer, and gone before the next.
        return [f"{name} {what}" for what in ("opens", "64 8", "100 2", "3 9", "2 9", "closes")]

    assert log == (turn("A") + turn("B")) * 2
    assert len(said) == 4
    assert said[0].startswith("1/2  A plain: 8.0, 8.0 tok/s; prompt 200.0")
    assert [one.engine for one in found.arms] == ["A", "B"]
    assert len(found.bandwidth) == 2
    assert found.file.name == "chain.gguf"
    assert found.file.accept is None
    assert sum(one.bytes for one in found.file.types) < found.file.bytes


def test_prompts_begin_differently_in_every_turn(model: Path) -> None:
    seen: list[list[int]] = []

    class Fake:
        def generate(self, prompt: Sequence[int], tokens: int) -> Answer:
            if tokens == 2:
                seen.append(list(prompt[:3]))
            return answer(range(tokens))

    @contextmanager
    def opened(setup: Setup) -> Iterator[Session]:
        yield Fake()

    arm = Arm("A", "plain", PLAIN, "1", "", opened)
    run(Setup(model, 200, 1), [arm], {"code": [1, 2, 3, 4]}, SETTINGS, lambda line: None)
    assert seen == [[1, 2, 3], [2, 3, 4]]


def test_rates_are_medians_and_geometric_means() -> None:
    one = turns("headlong", PLAIN, [answer(range(5), 0.2), answer(range(5), 0.5)])
    one.answers["prose"] = [answer(range(5), 0.8), answer(range(5), 0.5)]
    (result,) = conclude([one])
    assert result.decode == {
        "code": (pytest.approx(20), pytest.approx(8)),
        "prose": (pytest.approx(5), pytest.approx(8)),
    }
    assert result.rates.values == (pytest.approx(10), pytest.approx(8))
    assert result.rates.median == pytest.approx(9)


def test_differences_are_found(both: Report) -> None:
    plain, drafted, theirs, changed = both.arms
    assert plain.lossless and drafted.lossless and theirs.lossless
    assert theirs.reference is None
    wanted = Difference("code", "token", 3, 4, 9)
    assert changed.own == wanted
    assert changed.reference == wanted
    assert not changed.lossless
    assert both.lossless()  # this is about headlong alone
    broken = replace(both, arms=(plain, replace(drafted, own=wanted)))
    assert not broken.lossless()


def test_an_engine_that_does_not_repeat_itself() -> None:
    (result,) = conclude([turns("headlong", PLAIN, [answer([1, 2, 3]), answer([1, 2, 4])])])
    assert result.own is None
    assert not result.repeatable
    assert not result.lossless


def test_first_differences() -> None:
    assert compare("p", answer([1, 2, 3]), answer([1, 2, 3])) is None
    assert compare("p", answer([1, 2, 3]), answer([1, 2])) == Difference("p", "token", 2, 3, None)
    silent = Answer((Piece(0.1, 2, (), "ax"), Piece(0.2, 1, (), "y")))
    assert compare("p", answer([1, 2, 3]), silent) == Difference("p", "character", 1, "b", "x")
    assert compare("p", silent, silent) is None


def test_the_table(both: Report) -> None:
    lines = markdown(both).splitlines()
    assert lines[0] == "m.gguf: 2.00 GB, Q4_K x 7, F32 x 9"
    assert lines[1].startswith("Some <fast> CPU, 2 cores, 8 GiB, avx9, 2 threads; reads 50.0")
    rows = {
        (cells[1], cells[2]): cells
        for line in lines
        if (cells := [cell.strip() for cell in line.split("|")])[0] == "" and len(cells) == 10
    }
    assert rows["headlong", "plain"][3:5] == ["18.0 (16.0 to 20.0)", "1.00"]
    assert rows["headlong", "n = 2"][3:6] == ["40.0 (40.0 to 40.0)", "2.22", "75 %"]
    assert rows["headlong", "n = 2"][7:9] == ["yes", "yes"]
    assert rows["peer", "n = 1"][4] == "0.80"
    assert rows["peer", "n = 1"][7:9] == ["no: code, from token 3 on"] * 2
    assert "- plain decoding takes 72 % of the bandwidth of reads" in lines  # 36 of 50 GB/s
    assert "- best against best of peer (plain): 4.00 x; plain 1.80 x; prompt 1.00 x" in lines
    assert "- 2 of 8 turns were disturbed by other work on the machine" in lines
    assert "made-up" not in markdown(both)


def test_made_up_weights_are_named_everywhere(both: Report) -> None:
    synthetic = report(*both.arms, accept=0.8)
    wanted = "made-up weights"
    assert wanted in markdown(synthetic).splitlines()[1]
    assert wanted in draw(synthetic)
    assert wanted in readme_table.block([(FOLDER / "m.json", synthetic)])


def test_records_are_read_as_they_were_written(both: Report, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    both.save(path)
    assert load(path) == both
    assert list(load_all(tmp_path)) == [(path, both)]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "file": {}}'])
def test_what_is_no_record(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"m\.json is no record of schema 1"):
        load(path)


def test_the_chart_is_an_image(both: Report) -> None:
    root = ElementTree.fromstring(draw(both))
    space = "{http://www.w3.org/2000/svg}"
    words = ["".join(text.itertext()) for text in root.iter(f"{space}text")]
    assert words[0] == "m.gguf: tokens per second"
    assert words[1].startswith("Some <fast> CPU")
    assert "headlong n = 2" in words
    assert "40.0  (2.22 x plain)" in words
    bars = [float(r.attrib["width"]) for r in root.iter(f"{space}rect")][1:]
    assert bars[1] / bars[0] == pytest.approx(40 / 18, rel=0.01)
    assert bars[2] / bars[3] == pytest.approx(10 / 8, rel=0.01)


def test_headlong_answers_as_the_library_does(model: Path) -> None:
    setup = Setup(model, 256, 1)
    llm = LLM(model, context=256)
    params = SamplingParams(max_tokens=20, temperature=0, ignore_eos=True)
    expected = llm.generate([40, 41, 42], params)
    for draft in (PLAIN, 3, AUTO):
        with headlong_arm(draft).open(setup) as session:
            found = session.generate([40, 41, 42], 20)
        assert found.tokens == expected.tokens
        assert found.text == expected.text
        assert found.pieces[0].count == 1
        if draft != AUTO:  # which may find that drafts do not pay
            assert (found.drafted > 0) == (draft == 3)


def test_noise() -> None:
    before, after = CpuTimes(100, 1000, 10), CpuTimes(160, 1030, 20)
    assert after.since(before) == (pytest.approx(0.6), pytest.approx(0.1))
    assert Noise(0.06, 0.0).disturbed
    assert Noise(0.0, 0.02).disturbed
    assert not Noise(0.04, 0.005).disturbed


# --- The command


SMALL = ("--tokens", "8", "--prefill", "20", "--repeats", "2", "--threads", "1", "--llama")


def test_the_whole_command(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    llm = LLM(model, context=256)
    params = SamplingParams(max_tokens=8, temperature=0, ignore_eos=True)
    tokens = list(llm.generate(models.PROMPTS["prose"], params).tokens)
    known = tmp_path / "answer.json"
    known.write_text(json.dumps([*tokens[:5], 0, 0, 0]))
    command = shlex.join([sys.executable, str(ENGINE), "serve", "{port}", "llama", str(known)])
    out = tmp_path / "out"
    code = models.main(
        [str(model), *SMALL, "--headlong", "0", "2", "auto", "--prompts", "prose",
         "--peer", f"fake={command}", "--out", str(out), "--name", "small"]
    )  # fmt: skip
    printed = capsys.readouterr()
    assert code == 0
    assert "written: " in printed.err
    assert "1/2  headlong auto: " in printed.err
    assert "| headlong | n = 2 |" in printed.out
    record = load(out / "small.json")
    assert [(arm.engine, arm.mode) for arm in record.arms] == [
        ("headlong", "plain"), ("headlong", "n = 2"), ("headlong", "auto"), ("fake", "as given"),
    ]  # fmt: skip
    assert all(arm.lossless and arm.reference is None for arm in record.arms[:3])
    assert record.arms[3].reference == Difference("prose", "token", 5, tokens[5], 0)
    assert record.settings.prompts == ("prose",)
    assert ElementTree.parse(out / "small.svg")


def test_a_rehearsal_is_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rehearsal.gguf"
    write_rehearsal(path, TIED, find_mix("Q8_0"), Rehearsal(0.8, 0))
    flags = ["--headlong", "0", "--prompts", "code", "--out", str(tmp_path)]
    assert models.main([str(path), *SMALL, *flags]) == 0
    assert "made-up weights" in capsys.readouterr().out
    assert load(tmp_path / "rehearsal.json").file.accept == pytest.approx(0.8)


def test_a_file_without_a_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "headless.gguf"
    write_tiny(path, TinySpec(mtp=False))
    flags = ["--headlong", "0", "2", "auto", "--prompts", "code"]
    assert models.main([str(path), "--short", *SMALL, *flags]) == 0
    printed = capsys.readouterr()
    assert "has no MTP head: only modes without drafts are compared" in printed.err
    assert "| headlong | plain |" in printed.out
    assert "n = 2" not in printed.out
    assert not list(tmp_path.glob("*.json"))  # the short form writes nothing by itself


def test_a_difference_makes_it_fail(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def differs(turns: Sequence[Turns]) -> tuple[ArmResult, ...]:
        made = conclude(turns)
        return (made[0], replace(made[1], own=Difference("code", "token", 1, 2, 3)))

    monkeypatch.setattr(models, "conclude", differs)
    flags = ["--short", *SMALL, "--headlong", "0", "1", "--prompts", "code"]
    assert models.main([str(model), *flags]) == 1
    assert "no: code, from token 1 on" in capsys.readouterr().out


def test_errors_are_one_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models.main([str(tmp_path / "none.gguf"), *SMALL]) == 1
    assert "none.gguf" in capsys.readouterr().err
    assert models.main([str(model), "--short", *SMALL, "--peer", "x=/nowhere {port}"]) == 1
    assert "error: '/nowhere' cannot be started" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (["--headlong", "1"], "--headlong must include 0"),
        (["--headlong", "0", "16"], "a draft length is 0 to 15, not 16"),
        (["--tokens", "1"], "--tokens must be 2 or more"),
        (["--repeats", "0"], "at least 1, not 0"),
        (["--peer", "nonsense"], "given as NAME=COMMAND"),
        (["--prompts", "poems"], "invalid choice: 'poems'"),
    ],
)
def test_flags_that_cannot_be(
    flags: list[str], wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        models.main(flags)
    assert ended.value.code == 2
    assert wanted in capsys.readouterr().err


def test_without_the_wheel_its_modes_are_left_out(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "has_wheel", lambda: False)
    said: list[str] = []
    args = models.parse([str(model), "--short"])
    arms = models.choose_arms(args, said.append)
    assert [(arm.engine, arm.mode) for arm in arms] == [("headlong", "plain"), ("headlong", "auto")]
    assert "its wheel is not installed" in said[0]


# --- The README


def test_the_readme_shows_the_records() -> None:
    text = readme_table.README.read_text()
    assert readme_table.render(text, list(load_all())) == text, (
        "run: python -m benchmarks.readme_table"
    )


def test_results_in_a_readme(both: Report) -> None:
    text = f"Before\n\n{readme_table.BEGIN}\nold\n{readme_table.END}\n\nAfter\n"
    shown = readme_table.render(text, [(FOLDER / "m.json", both)])
    assert shown.startswith(f"Before\n\n{readme_table.BEGIN}\n\n## How fast\n")
    assert shown.endswith(f"\n{readme_table.END}\n\nAfter\n")
    assert "old" not in shown
    assert "| `m.gguf` | headlong | 18.0 | - | 40.0 (n = 2) | 2.22 x | 100 | yes |" in shown
    assert "| `m.gguf` | peer | 10.0 | - | 10.0 (plain) | 1.00 x | 100 | no |" in shown
    assert readme_table.render(shown, [(FOLDER / "m.json", both)]) == shown
    without = readme_table.render(shown, [])
    assert without == f"Before\n\n{readme_table.BEGIN}\n{readme_table.END}\n\nAfter\n"


def test_a_readme_without_markers(both: Report) -> None:
    with pytest.raises(ValueError, match="needs a line <!-- results -->"):
        readme_table.render("text", [])
    with pytest.raises(ValueError, match="needs a line"):
        readme_table.render(f"{readme_table.END}\n{readme_table.BEGIN}\n", [])


def test_the_check_tells_what_is_out_of_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"{readme_table.BEGIN}\nold\n{readme_table.END}\n")
    monkeypatch.setattr(readme_table, "README", readme)
    monkeypatch.setattr(readme_table, "load_all", lambda: iter(()))
    assert readme_table.main(["--check"]) == 1
    assert "out of date" in capsys.readouterr().err
    assert readme_table.main([]) == 0
    assert readme.read_text() == f"{readme_table.BEGIN}\n{readme_table.END}\n"
    assert readme_table.main(["--check"]) == 0


def test_an_answer_of_nothing_is_an_error() -> None:
    with pytest.raises(PeerError):
        Answer(())
