"""Counts of what was drafted and accepted, and where the time went."""

from dataclasses import dataclass, field

from headlong.errors import HeadlongError
from headlong.sampling import MAX_DRAFT

__all__ = ["SpeculationStats"]


@dataclass(slots=True)
class SpeculationStats:
    """Speculation of one request, or with `add` of many.

    A round is one verification pass of one sequence, with a draft or without. Depth 1 is the first
    draft token of a round; the lists by depth start with it.
    """

    rounds: int = 0
    draft_seconds: float = 0.0
    verify_seconds: float = 0.0
    sampling_seconds: float = 0.0
    _drafted: list[int] = field(default_factory=lambda: [0] * MAX_DRAFT)
    _reached: list[int] = field(default_factory=lambda: [0] * MAX_DRAFT)
    _accepted: list[int] = field(default_factory=lambda: [0] * MAX_DRAFT)

    def record(self, drafted: int, accepted: int) -> None:
        """Counts one round: the first `accepted` of `drafted` tokens were right."""
        if not 0 <= accepted <= drafted <= MAX_DRAFT:
            raise HeadlongError(
                f"a round with {accepted} of {drafted} drafts accepted cannot be; "
                f"a draft has at most {MAX_DRAFT} tokens"
            )
        self.rounds += 1
        for depth in range(drafted):
            self._drafted[depth] += 1
        for depth in range(min(drafted, accepted + 1)):
            self._reached[depth] += 1
        for depth in range(accepted):
            self._accepted[depth] += 1

    def spend(self, *, draft: float = 0.0, verify: float = 0.0, sampling: float = 0.0) -> None:
        """Adds seconds spent drafting, in the target's passes, and sampling the target's rows."""
        self.draft_seconds += draft
        self.verify_seconds += verify
        self.sampling_seconds += sampling

    def add(self, other: "SpeculationStats") -> None:
        """Adds another request's rounds, tokens and seconds to these."""
        self.rounds += other.rounds
        for depth in range(MAX_DRAFT):
            self._drafted[depth] += other._drafted[depth]
            self._reached[depth] += other._reached[depth]
            self._accepted[depth] += other._accepted[depth]
        self.spend(
            draft=other.draft_seconds, verify=other.verify_seconds, sampling=other.sampling_seconds
        )

    @property
    def draft_n(self) -> int:
        """Tokens drafted."""
        return sum(self._drafted)

    @property
    def draft_n_accepted(self) -> int:
        """Drafted tokens that were accepted."""
        return sum(self._accepted)

    @property
    def draft_n_by_depth(self) -> tuple[int, ...]:
        """Tokens drafted at depth 1, 2, ..., as far as any were."""
        return tuple(self._drafted[: self._depth])

    @property
    def accepted_by_depth(self) -> tuple[int, ...]:
        """Tokens accepted at depth 1, 2, ..., as far as any were drafted."""
        return tuple(self._accepted[: self._depth])

    @property
    def acceptance_rate(self) -> float | None:
        """Share of drafted tokens that were accepted; None if none were drafted."""
        return self.draft_n_accepted / self.draft_n if self.draft_n else None

    @property
    def conditional_by_depth(self) -> tuple[float | None, ...]:
        """Acceptance at each depth among rounds in which every draft before it was accepted.

        None at depths that no such round reached.
        """
        pairs = zip(self._accepted, self._reached, strict=True)
        return tuple(a / n if n else None for a, n in list(pairs)[: self._depth])

    @property
    def tokens_per_round(self) -> float | None:
        """Mean tokens that a round yields: accepted ones and one more; None before any round."""
        return 1 + self.draft_n_accepted / self.rounds if self.rounds else None

    @property
    def _depth(self) -> int:
        """The deepest that any round drafted."""
        return MAX_DRAFT - self._drafted.count(0)

    def as_dict(self) -> dict[str, int | float | list[int] | list[float | None] | None]:
        """All of it, ready for JSON. Seconds are seconds."""
        return {
            "rounds": self.rounds,
            "draft_n": self.draft_n,
            "draft_n_accepted": self.draft_n_accepted,
            "draft_n_by_depth": list(self.draft_n_by_depth),
            "accepted_by_depth": list(self.accepted_by_depth),
            "conditional_by_depth": list(self.conditional_by_depth),
            "acceptance_rate": self.acceptance_rate,
            "tokens_per_round": self.tokens_per_round,
            "draft_seconds": self.draft_seconds,
            "verify_seconds": self.verify_seconds,
            "sampling_seconds": self.sampling_seconds,
        }
