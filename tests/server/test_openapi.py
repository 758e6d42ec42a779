"""The OpenAPI document is true: whatever fits it, and what does not, is answered as it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving import Served, serving
from serving_engines import loads

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
SOME = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
# A small context keeps answers without a limit short.
CONTEXT = 96
OPERATIONS = [
    "GET /health", "GET /v1/health", "GET /v1/models", "GET /models", "GET /v1/models/{name}",
    "GET /props", "GET /slots", "GET /metrics",
    "POST /completion", "POST /completions", "POST /tokenize", "POST /detokenize",
    "POST /apply-template", "POST /v1/chat/completions", "POST /chat/completions",
    "POST /v1/completions",
]  # fmt: skip


@pytest.fixture(scope="module")
def served(model: Path) -> Iterator[Served]:
    with serving(loads(model, context=CONTEXT)) as it:
        yield it


@pytest.fixture(scope="module")
def schema(served: Served) -> Any:
    return schemathesis.openapi.from_url(f"{served.url}/openapi.json")


def names(schema: Any) -> list[str]:
    found = [result.ok() for result in schema.get_all_operations()]
    return [f"{operation.method.upper()} {operation.path}" for operation in found]


def test_every_operation_is_in_the_document(schema: Any) -> None:
    assert sorted(names(schema)) == sorted(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_answers_are_as_documented(schema: Any, name: str) -> None:
    method, path = name.split()
    statuses: Counter[int] = Counter()

    @SOME
    @given(case=schema[path][method].as_strategy())
    def ask(case: Any) -> None:
        for body in _bodies(case.body):
            case.body = body
            response = case.call()
            case.validate_response(response, checks=CHECKS)
            statuses[response.status_code] += 1

    ask()
    assert statuses[200] + statuses[404] > 0


PLAIN: dict[str, Any] = {
    "messages": [{"role": "user", "content": "and"}],
    "prompt": "and",
    "tokens": [5, 6],
    "content": "and",
}


def _bodies(body: Any) -> Iterator[Any]:
    """A body, and parts of it with a plain prompt, which are likely to make sense."""
    yield body
    if not isinstance(body, dict):
        return
    plain = {key: PLAIN[key] for key in body if key in PLAIN}
    yield plain
    others = [key for key in body if key not in PLAIN]
    for first in range(0, min(len(others), 6), 2):
        yield plain | {key: body[key] for key in others[first : first + 2]}


def test_errors_are_openais(served: Served) -> None:
    for path in ("/v1/chat/completions", "/v1/completions", "/completion", "/tokenize"):
        for content in (b"", b"{", b"[]", b"\xff", b'{"x": 1}', b'"' + b"x" * 99):
            response = served.client.post(
                path, content=content, headers={"Content-Type": "application/json"}
            )
            assert response.status_code == 400
            error = response.json()["error"]
            assert set(error) == {"message", "type", "param", "code"}
            assert error["type"] == "invalid_request_error"
