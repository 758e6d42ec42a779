"""docs/server.md names every place and every field of llama-server's dialect, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi import FastAPI

from headlong.server.app import create_app
from headlong.server.completion_request import CompletionRequest
from headlong.server.metrics import Metrics
from headlong.server.request_body import RequestBody
from headlong.server.routes.tokens import DetokenizeRequest, TokenizeRequest
from headlong.server.sampling_fields import SamplingFields
from headlong.server.service import Service
from headlong.server.settings import ServerSettings
from headlong.server.worker import Worker

TEXT = (Path(__file__).parents[2] / "docs" / "server.md").read_text()


def names(model: type[RequestBody]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def section(heading: str) -> str:
    begin = TEXT.index(heading) + len(heading)
    return TEXT[begin : TEXT.index("\n#", begin)]


def test_the_fields_of_completion() -> None:
    own = names(CompletionRequest) - names(SamplingFields)
    listed = re.findall(r"^\| `([^`]+)` \|", section("### `POST /completion`"), re.MULTILINE)
    assert sorted(listed) == sorted(own)
    both = section("### Fields of both")
    missing = {name for name in names(SamplingFields) if f"| `{name}` |" not in both}
    assert not missing


@pytest.mark.parametrize("model", [TokenizeRequest, DetokenizeRequest])
def test_the_fields_of_text_and_tokens(model: type[RequestBody]) -> None:
    text = section("### Text and tokens")
    assert not {name for name in names(model) if f"`{name}`" not in text}


def app() -> FastAPI:
    def load(progress: object) -> None:
        raise AssertionError("nothing is loaded here")

    return create_app(Service(Worker(load), ServerSettings()))  # type: ignore[arg-type]


def test_every_place_is_named() -> None:
    paths = set(app().openapi()["paths"])
    assert len(paths) >= 14
    shown = {path.replace("{name}", "NAME") for path in paths}
    assert not {path for path in shown if path not in TEXT}


def test_no_schema_admits_unknown_fields() -> None:
    schemas = app().openapi()["components"]["schemas"]
    bodies = [name for name in schemas if name.endswith("Request")]
    assert len(bodies) >= 5
    assert all(schemas[name]["additionalProperties"] is False for name in bodies)


def test_every_figure_is_named() -> None:
    text = Metrics("m").text(None).decode()
    figures = re.findall(r"^# TYPE headlong_(\S+)", text, re.MULTILINE)
    assert len(figures) >= 10
    assert not {name for name in figures if name not in TEXT}
