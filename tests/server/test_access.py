"""Who may ask, from where, and how much."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Served, serving
from serving_engines import loads

BODY = {"prompt": "the end", "n_predict": 2}
EVIL = "https://evil.example"


@pytest.fixture(scope="module")
def guarded(model: Path) -> Iterator[Served]:
    origins = ("https://chat.example",)
    with serving(
        loads(model), api_key=("first-key", "second-key"), cors_origins=origins, max_request_size=1
    ) as running:
        yield running


@pytest.fixture(scope="module")
def open_to_all_here(model: Path) -> Iterator[Served]:
    with serving(loads(model)) as running:
        yield running


def test_every_route_but_health_asks_for_the_key(guarded: Served) -> None:
    for path in ("/health", "/v1/health"):
        assert guarded.client.get(path).status_code == 200
    for path in ("/v1/models", "/props", "/slots", "/metrics", "/openapi.json", "/nowhere",
                 "/v1/embeddings"):  # fmt: skip
        response = guarded.client.get(path)
        assert response.status_code == 401, path
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.json()["error"]["type"] == "authentication_error"
    assert guarded.post("/completion", BODY).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer first-key"}, 200),
        ({"Authorization": "bearer second-key"}, 200),
        ({"X-Api-Key": "first-key"}, 200),
        ({"Authorization": "Bearer first-key2"}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": "Basic first-key"}, 401),
        ({"Authorization": b"Bearer \xff\xfe"}, 401),
        ({"X-Api-Key": ""}, 401),
    ],
)
def test_keys(guarded: Served, headers: dict[str, str], status: int) -> None:
    response = guarded.post("/completion", BODY, headers=headers)
    assert response.status_code == status
    assert "first-key" not in response.text


def test_a_page_that_was_allowed_may_ask(guarded: Served) -> None:
    asks = {"Origin": "https://chat.example", "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type"}  # fmt: skip
    allowed = guarded.client.options("/completion", headers=asks)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://chat.example"
    assert "access-control-allow-credentials" not in allowed.headers
    refused = guarded.client.options("/completion", headers={**asks, "Origin": EVIL})
    assert "access-control-allow-origin" not in refused.headers
    keyed = {"Authorization": "Bearer first-key", "Origin": "https://chat.example"}
    answer = guarded.client.get("/v1/models", headers=keyed)
    assert answer.headers["access-control-allow-origin"] == "https://chat.example"


def test_no_other_page_may_ask_by_default(open_to_all_here: Served) -> None:
    asks = {"Origin": EVIL, "Access-Control-Request-Method": "POST"}
    response = open_to_all_here.client.options("/completion", headers=asks)
    assert response.status_code == 405
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8080", 200),
        ("headlong.localhost:1", 200),
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("192.168.1.5", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("evil.example:8080", 403),
        ("[evil", 403),
    ],
)
def test_foreign_names_of_a_loopback_server(
    open_to_all_here: Served, host: str, status: int
) -> None:
    response = open_to_all_here.client.get("/v1/models", headers={"Host": host})
    assert response.status_code == status
    assert status == 200 or response.json()["error"]["code"] == "foreign_host"


def test_keys_make_names_harmless(guarded: Served) -> None:
    headers = {"Host": "evil.example", "Authorization": "Bearer first-key"}
    assert guarded.client.get("/v1/models", headers=headers).status_code == 200


def test_large_bodies_are_refused_however_they_come(guarded: Served) -> None:
    headers = {"Authorization": "Bearer first-key", "Content-Type": "application/json"}
    body = b'{"prompt": "' + b"x" * (1 << 20) + b'"}'

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(body), 1 << 16):
            yield body[start : start + (1 << 16)]

    for content in (body, pieces()):
        response = guarded.client.post("/completion", content=content, headers=headers)
        assert response.status_code == 413
        assert "1 MiB" in response.json()["error"]["message"]
    fits = b'{"prompt": "' + b"x " * (1 << 18) + b'"}'
    response = guarded.client.post("/completion", content=fits, headers=headers)
    assert response.json()["error"]["code"] == "context_length_exceeded"


def test_absent_places_say_what_to_use(open_to_all_here: Served) -> None:
    client = open_to_all_here.client
    for path, words in (("/v1/responses", "/v1/chat/completions"), ("/v1/embeddings", "generate"),
                        ("/v1/audio/speech", "text only"), ("/infill", "/completion")):  # fmt: skip
        response = client.post(path, json={"input": "x"})
        assert response.status_code == 404
        assert words in response.json()["error"]["message"]
        assert response.json()["error"]["code"] == "not_supported"


def test_what_nobody_expects_shows_nothing(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving(loads(model)) as served:
        served.server.worker.submit_all = None  # type: ignore[method-assign, assignment]
        response = served.post("/completion", {"prompt": "a secret prompt"})
    assert response.status_code == 500
    error = response.json()["error"]
    assert error["type"] == "server_error"
    assert error["code"] in caplog.text
    assert "TypeError" in caplog.text
    assert "TypeError" not in response.text
    assert ".py" not in response.text


def test_the_log_has_figures_and_no_text(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "headlong.server"), serving(loads(model)) as served:
        served.post("/completion", {"prompt": "a secret prompt", "n_predict": 8})
        served.client.get("/health")
        served.client.get("/no%0Awhere")
    lines = [record.getMessage() for record in caplog.records]
    assert any("POST /completion 200" in line and "answer 8 tokens" in line for line in lines)
    assert "secret" not in caplog.text
    assert not any("/health" in line for line in lines)
    assert all("\n" not in line for line in lines)


def test_the_page_needs_no_key_and_runs_nothing_foreign(guarded: Served) -> None:
    page = guarded.client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>Headlong</title>" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    again = guarded.client.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert guarded.client.head("/").status_code == 200
    assert guarded.client.post("/", content=b"").status_code == 401
