"""The tables of fields in docs/server.md are those that the schemas declare."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from headlong.server.openai.chat_schema import ChatCompletionRequest, RequestMessage
from headlong.server.openai.common_schema import CommonRequest
from headlong.server.openai.completion_schema import CompletionRequest
from headlong.server.openai.handling import HandledField, handled_fields

TEXT = (Path(__file__).parents[3] / "docs" / "server.md").read_text()
COMMON = {field.name for field in handled_fields(CommonRequest)}


def row(field: HandledField) -> str:
    note = field.note
    if field.neutral:
        taken = " or ".join(f"`{json.dumps(value)}`" for value in field.neutral)
        note = f"{note} Taken: {taken}."
    return f"| `{field.name}` | {field.handling} | {note} |"


def table(fields: Iterable[HandledField]) -> str:
    order = ["honoured", "accepted", "refused"]
    rows = sorted(fields, key=lambda field: order.index(field.handling))
    return "\n".join(["| field | | |", "|---|---|---|", *map(row, rows)])


TABLES = {
    "both": table(handled_fields(CommonRequest)),
    "chat": table(f for f in handled_fields(ChatCompletionRequest) if f.name not in COMMON),
    "text": table(f for f in handled_fields(CompletionRequest) if f.name not in COMMON),
    "message": table(handled_fields(RequestMessage)),
}


@pytest.mark.parametrize("name", list(TABLES))
def test_the_tables_are_in_the_documentation(name: str) -> None:
    expected = TABLES[name]
    missing = [line for line in expected.splitlines() if line not in TEXT]
    assert not missing, "docs/server.md lacks or tells otherwise:\n" + "\n".join(missing)
    assert expected in TEXT, (
        f"docs/server.md has another order or more rows; it should be\n{expected}"
    )
