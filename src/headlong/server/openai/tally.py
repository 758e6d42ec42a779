"""What a request has cost in tokens and time, over all its answers."""

from __future__ import annotations

from collections.abc import Sequence

from headlong.engine.requests import Chunk, Completion, Timings
from headlong.server.openai.answer_schema import CompletionDetails, PromptDetails, Usage
from headlong.server.timings import timings_json
from headlong.speculation import SpeculationStats

__all__ = ["Tally"]


class Tally:
    """Counts the answers of one request, which come ``choices`` to a prompt.

    Args:
        prompts: tokens of each prompt.
        choices: answers per prompt.
    """

    def __init__(self, prompts: Sequence[int], choices: int) -> None:
        self._prompt_tokens = sum(prompts)
        self._choices = choices
        self._completion_tokens = 0
        self._completions: dict[int, Completion] = {}

    def feed(self, index: int, chunk: Chunk) -> None:
        """Count a piece of answer ``index``."""
        self._completion_tokens += len(chunk.tokens)
        if chunk.completion is not None:
            self._completions[index] = chunk.completion

    def usage(self, reasoning_tokens: int) -> Usage:
        """The tokens so far; what speculation and the prefix cache did, of answers that ended."""
        stats = self._stats()
        # Of several answers to a prompt, all but the first find it read already.
        firsts = [c for index, c in self._completions.items() if index % self._choices == 0]
        return Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
            total_tokens=self._prompt_tokens + self._completion_tokens,
            prompt_tokens_details=PromptDetails(
                cached_tokens=sum(one.timings.cached for one in firsts)
            ),
            completion_tokens_details=CompletionDetails(
                reasoning_tokens=reasoning_tokens,
                accepted_prediction_tokens=stats.draft_n_accepted,
                rejected_prediction_tokens=stats.draft_n - stats.draft_n_accepted,
            ),
        )

    def timings(self) -> dict[str, object]:
        """llama-server's ``timings`` of the answers that ended.

        Of several, which run together, tokens are added up and the longest times are given.
        """
        each = [completion.timings for completion in self._completions.values()]
        together = Timings(
            prompt=sum(one.prompt for one in each),
            prompt_seconds=max((one.prompt_seconds for one in each), default=0.0),
            predicted=sum(one.predicted for one in each),
            predicted_seconds=max((one.predicted_seconds for one in each), default=0.0),
            cached=sum(one.cached for one in each),
        )
        return timings_json(together, self._stats())

    def _stats(self) -> SpeculationStats:
        stats = SpeculationStats()
        for completion in self._completions.values():
            stats.add(completion.stats)
        return stats
