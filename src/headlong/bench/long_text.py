"""Long prompts of any length that read like a project's files: code, notes, measurements.

Made of sentences and functions whose parts are drawn from a seeded generator: the same length gives
the same text, no two paragraphs are the same, and it is far from random tokens, on which drafts say
nothing about real use.
"""

from __future__ import annotations

import random
from typing import Final

__all__ = ["CHARACTERS_PER_TOKEN", "long_text"]

CHARACTERS_PER_TOKEN: Final = 2.9
"""Of this text with the vocabulary of Qwen, which spells numbers digit by digit."""

_THINGS: Final = str.split(
    "valve pump sensor filter turbine relay gate boiler meter ledger queue buffer index shard "
    "probe beacon anchor conveyor furnace antenna battery rotor bearing gauge hatch winch spindle"
)
_PLACES: Final = str.split(
    "harbour quarry observatory greenhouse foundry station archive workshop reservoir "
    "lighthouse mill depot orchard laboratory terminal"
)
_DEEDS: Final = str.split(
    "inspect calibrate drain restart replace measure record seal align load merge release "
    "verify rotate cool heat lift lower flush"
)
_STATES: Final = str.split(
    "stable late worn idle overloaded cold blocked empty misaligned quiet full"
)
_CAUSES: Final = (
    "because the night shift had changed its order",
    "although nothing in the log explained it",
    "after the spring flood had raised the ground water",
    "since the supplier had delivered the older model",
    "while the crew waited for the tide",
    "before anybody had read the manual",
    "so that the second line could go on working",
)


def long_text(tokens: int, *, seed: int = 7) -> str:
    """About ``tokens`` tokens of text, estimated by its length."""
    draw = random.Random(seed)
    wanted = int(tokens * CHARACTERS_PER_TOKEN)
    parts: list[str] = []
    length = number = 0
    while length < wanted:
        number += 1
        part = (_note, _function, _table)[number % 3](draw, number)
        parts.append(part)
        length += len(part) + 2
    return "\n\n".join(parts)[:wanted]


def _note(draw: random.Random, number: int) -> str:
    place = draw.choice(_PLACES)
    sentences = [
        f"The {draw.choice(_THINGS)} of the {place} was {draw.choice(_STATES)} "
        f"{draw.choice(_CAUSES)}, and we had to {draw.choice(_DEEDS)} the "
        f"{draw.choice(_THINGS)} {draw.randint(2, 9)} times."
        for _ in range(draw.randint(3, 6))
    ]
    return f"## Entry {number}: {place}\n\n" + " ".join(sentences)


def _function(draw: random.Random, number: int) -> str:
    deed, thing, other = draw.choice(_DEEDS), draw.choice(_THINGS), draw.choice(_THINGS)
    limit, step = draw.randint(10, 900), draw.randint(2, 9)
    return (
        f"def {deed}_{thing}_{number}({thing}s: list[float], limit: float = {limit}) -> float:\n"
        f'    """{deed.capitalize()} every {thing} whose {other} is above the limit."""\n'
        f"    {other} = 0.0\n"
        f"    for place, value in enumerate({thing}s):\n"
        f"        if value > limit:\n"
        f"            {other} += (value - limit) / {step}\n"
        f"        elif place % {step} == 0:\n"
        f"            {other} -= value\n"
        f"    return {other}"
    )


def _table(draw: random.Random, number: int) -> str:
    columns = draw.sample(_THINGS, 3)
    rows = "\n".join(
        f"{number}.{row},{draw.choice(_PLACES)},"
        + ",".join(f"{draw.random():.3f}" for _ in columns)
        for row in range(1, draw.randint(5, 9))
    )
    return f"entry,place,{','.join(columns)}\n{rows}"
