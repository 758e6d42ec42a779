"""The figures after an answer, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headlong.cli.figures import decimals, percent, rate, seconds

if TYPE_CHECKING:
    from headlong.engine.requests import Completion
    from headlong.speculation import SpeculationStats

__all__ = ["acceptance_by_depth", "answer_line", "speculation_lines", "summary"]


def summary(completion: Completion) -> str:
    """Several lines about one answer, without a newline at the end."""
    timings = completion.timings
    ended = completion.finish_reason
    if completion.stop is not None:
        ended += f" at {completion.stop!r}"
    lines = [
        f"prompt     {timings.prompt} tokens in {seconds(timings.prompt_seconds)}, "
        f"{rate(timings.prompt_per_second)}"
        + (f"; {timings.cached} more were known" if timings.cached else ""),
        f"generated  {timings.predicted} tokens in {seconds(timings.predicted_seconds)}, "
        f"{rate(timings.predicted_per_second)}; ended: {ended}; seed {completion.seed}",
    ]
    return "\n".join(lines + speculation_lines(completion.stats))


def answer_line(completion: Completion) -> str:
    """One line about one answer: tokens, speed, acceptance."""
    timings, stats = completion.timings, completion.stats
    parts = [f"{timings.predicted} tokens", rate(timings.predicted_per_second)]
    if timings.cached:
        parts.append(f"{timings.prompt} prompt tokens read, {timings.cached} known")
    if stats.draft_n:
        parts.append(
            f"{percent(stats.acceptance_rate)} of {stats.draft_n} drafts accepted, "
            f"{decimals(stats.tokens_per_round)} tokens per round"
        )
    if completion.finish_reason == "length":
        parts.append("cut off by the limit on tokens or the end of the context")
    return " · ".join(parts)


def speculation_lines(stats: SpeculationStats) -> list[str]:
    """Rounds, drafts and times; empty before any round."""
    if not stats.rounds:
        return []
    rounds = f"rounds     {stats.rounds}, {decimals(stats.tokens_per_round)} tokens per round"
    times = (
        f"time       draft {seconds(stats.draft_seconds)}, "
        f"verify {seconds(stats.verify_seconds)}, sampling {seconds(stats.sampling_seconds)}"
    )
    if not stats.draft_n:
        return [f"{rounds}; nothing drafted", times]
    return [
        rounds,
        f"drafted    {stats.draft_n}, accepted {stats.draft_n_accepted} "
        f"({percent(stats.acceptance_rate)})",
        f"by depth   {acceptance_by_depth(stats)}",
        times,
    ]


def acceptance_by_depth(stats: SpeculationStats) -> str:
    """Share of the drafts of depth 1, 2, ... that were accepted: ``1: 80 %  2: 64 %``."""
    shares = zip(stats.accepted_by_depth, stats.draft_n_by_depth, strict=True)
    return "  ".join(
        f"{depth}: {percent(accepted / drafted)}"
        for depth, (accepted, drafted) in enumerate(shares, start=1)
    )
