"""What is shown of progress, figures, reasoning and generated text."""

from __future__ import annotations

import io
from dataclasses import fields

import pytest
from rich.console import Console

from headlong.cli.figures import byte_size, decimals, percent, rate
from headlong.cli.progress_bars import Bars, PlainLines, progress_on
from headlong.cli.reasoning_view import ReasoningView
from headlong.cli.sampling_options import SETTINGS, parse_logit_bias
from headlong.cli.statistics import acceptance_by_depth, answer_line, speculation_lines, summary
from headlong.cli.terminal import Writer, printable
from headlong.engine.requests import Completion, Timings
from headlong.errors import ParameterError
from headlong.sampling import SamplingParams
from headlong.speculation import SpeculationStats


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def completion(stats: SpeculationStats, *, stop: str | None = None) -> Completion:
    return Completion(
        text="abc",
        tokens=(1, 2, 3),
        prompt_tokens=(4, 5),
        finish_reason="length" if stop is None else "stop",
        stop=stop,
        seed=9,
        stats=stats,
        timings=Timings(2, 0.5, 3, 0.25),
    )


def recorded(*rounds: tuple[int, int]) -> SpeculationStats:
    stats = SpeculationStats()
    for drafted, accepted in rounds:
        stats.record(drafted, accepted)
    stats.spend(draft=0.1, verify=1.5, sampling=0.02)
    return stats


def test_summary() -> None:
    assert summary(completion(recorded((2, 2), (2, 1), (2, 0)), stop="\n")).splitlines() == [
        "prompt     2 tokens in 0.50 s, 4.0 tok/s",
        "generated  3 tokens in 0.25 s, 8.0 tok/s; ended: stop at '\\n'; seed 9",
        "rounds     3, 2.00 tokens per round",
        "drafted    6, accepted 3 (50 %)",
        "by depth   1: 67 %  2: 33 %",
        "time       draft 0.10 s, verify 1.50 s, sampling 0.02 s",
    ]


def test_summary_without_drafts() -> None:
    assert speculation_lines(SpeculationStats()) == []
    assert speculation_lines(recorded((0, 0)))[0].endswith("nothing drafted")
    assert "drafts" not in answer_line(completion(recorded((0, 0)), stop="x"))


def test_answer_line() -> None:
    line = answer_line(completion(recorded((2, 2), (1, 0))))
    assert line == (
        "3 tokens · 8.0 tok/s · 67 % of 3 drafts accepted, 2.00 tokens per round · "
        "cut off by the limit on tokens or the end of the context"
    )
    assert acceptance_by_depth(recorded((2, 2), (1, 0))) == "1: 50 %  2: 100 %"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1288490189, "1.2 GiB"),
        (1 << 50, "1024.0 TiB"),
    ],
)
def test_byte_size(count: int, text: str) -> None:
    assert byte_size(count) == text


def test_figures_that_are_not_known() -> None:
    assert (percent(None), rate(0.0), decimals(None)) == ("-", "- tok/s", "-")


def test_plain_lines_come_at_most_once_a_second() -> None:
    stream, clock = io.StringIO(), Clock()
    with PlainLines(stream, clock).stage("weights", 1000 << 20, "B") as stage:
        for _ in range(100):
            clock.now += 0.25
            stage.advance(10 << 20)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "packing weights: 10 % of 1000.0 MiB, about 20 s left"
    assert lines[-1] == "packing weights: 100 % of 1000.0 MiB"
    assert len(lines) == 10


def test_plain_lines_come_at_most_every_ten_percent() -> None:
    stream, clock = io.StringIO(), Clock()
    with PlainLines(stream, clock).stage("weights", 1000, "B") as stage:
        for _ in range(1000):
            clock.now += 60
            stage.advance(1)
    assert len(stream.getvalue().splitlines()) == 10


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4, ""), (40, ", about 40 s left"), (400, ", about 7 min left"), (9000, ", about 2.5 h left")],
)
def test_plain_lines_tell_the_time_left(seconds: float, text: str) -> None:
    stream, clock = io.StringIO(), Clock()
    with PlainLines(stream, clock).stage("measuring", 50, "rounds") as stage:
        clock.now += seconds
        stage.advance(25)
    assert stream.getvalue() == f"measuring: 50 % of 50 rounds{text}\n"


def test_short_stages_print_nothing() -> None:
    stream = io.StringIO()
    lines = PlainLines(stream, Clock())
    with lines.stage("tokenizer", 1, "") as stage:
        stage.advance(1)
    with lines.stage("weights", 0, "B"):
        pass
    assert stream.getvalue() == ""
    lines.note("look")
    assert stream.getvalue() == "note: look\n"


def test_bars_on_a_terminal() -> None:
    screen = Terminal()
    bars = Bars(Console(file=screen, force_terminal=True, width=100))
    with bars.stage("weights", 3 << 20, "B") as stage:
        stage.advance(3 << 20)
    bars.note("2 tensors [stored] otherwise")
    shown = screen.getvalue()
    assert "packing weights" in shown
    assert "3.0 MiB of 3.0 MiB" in shown
    assert "note: 2 tensors [stored] otherwise" in shown


def test_progress_suits_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(progress_on(Terminal()), Bars)
    assert isinstance(progress_on(io.StringIO()), PlainLines)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(progress_on(Terminal()), PlainLines)


def test_generated_text_cannot_command_a_terminal() -> None:
    assert printable("a\x1b[2Jb\x9b1mc\x07\td\n") == "a\ufffd[2Jb\ufffd1mc\ufffd\td\n"
    screen, file = Terminal(), io.StringIO()
    Writer(screen).write("\x1b[2J", dim=True)
    Writer(file).write("\x1b[2J", dim=True)
    assert screen.getvalue() == "\x1b[2m\ufffd[2J\x1b[22m"
    assert file.getvalue() == "\x1b[2J"


def test_a_line_is_ended_once() -> None:
    stream = io.StringIO()
    writer = Writer(stream)
    writer.end_line()
    writer.write("a")
    writer.write("")
    writer.end_line()
    writer.end_line()
    assert stream.getvalue() == "a\n"


@pytest.mark.parametrize("cut", [1, 2, 5, 100])
def test_reasoning_is_set_apart(cut: int) -> None:
    text = "<think>\nwhy\n</think>\n\nbecause"
    file, hidden, screen = io.StringIO(), io.StringIO(), Terminal()
    for stream, hide in ((file, False), (hidden, True), (screen, False)):
        view = ReasoningView(Writer(stream), opened=False, hide=hide)
        for start in range(0, len(text), cut):
            view.feed(text[start : start + cut])
        view.finish()
        assert (view.reasoning, view.content) == ("why", "because")
    assert file.getvalue() == "<think>\nwhy\n</think>\n\nbecause\n"
    assert hidden.getvalue() == "because\n"
    plain = screen.getvalue().replace("\x1b[2m", "").replace("\x1b[22m", "")
    assert plain == "why\n\nbecause\n"
    assert "\x1b[2m" in screen.getvalue()


def test_reasoning_that_never_ends() -> None:
    file = io.StringIO()
    view = ReasoningView(Writer(file), opened=True, hide=False)
    view.feed("hm")
    view.finish()
    assert file.getvalue() == "<think>\nhm\n</think>\n\n"
    assert (view.reasoning, view.content) == ("hm", "")


@pytest.mark.parametrize(
    ("text", "pair"),
    [("5+1", (5, 1.0)), ("5-0.5", (5, -0.5)), ("5-inf", (5, float("-inf"))), ("7+1e3", (7, 1e3))],
)
def test_logit_bias(text: str, pair: tuple[int, float]) -> None:
    assert parse_logit_bias(text) == pair


@pytest.mark.parametrize("text", ["", "5", "+1", "5+", "5+x", "a+1", "-5+1", "9" * 40 + "+1"])
def test_logit_bias_that_is_none(text: str) -> None:
    with pytest.raises(ParameterError, match="is not a token id, a sign and a number"):
        parse_logit_bias(text)


def test_settings_are_fields_of_sampling() -> None:
    known = {field.name for field in fields(SamplingParams)}
    assert {setting.field for setting in SETTINGS.values()} <= known
