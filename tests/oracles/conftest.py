"""Models and oracles that the comparisons share; each model is written once per session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oracles import hf, llama_cpp
from oracles.twin import write_float_twin
from tiny import Tiny, TinySpec, write_tiny

TinyMaker = Callable[[TinySpec], Tiny]
TwinMaker = Callable[[Tiny], Path]


@pytest.fixture(scope="session")
def llama() -> Iterator[llama_cpp.Worker]:
    if llama_cpp.MISSING:
        pytest.skip(llama_cpp.REASON)
    worker = llama_cpp.Worker()
    yield worker
    worker.close()


@pytest.fixture(scope="session")
def transformers() -> None:
    if hf.MISSING:
        pytest.skip(hf.REASON)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyMaker:
    folder = tmp_path_factory.mktemp("tiny")
    written: dict[TinySpec, Tiny] = {}

    def make(spec: TinySpec) -> Tiny:
        if spec not in written:
            written[spec] = write_tiny(folder / f"{len(written)}.gguf", spec)
        return written[spec]

    return make


@pytest.fixture(scope="session")
def twin() -> TwinMaker:
    def make(model: Tiny) -> Path:
        target = model.path.with_suffix(".f32.gguf")
        return target if target.exists() else write_float_twin(model.path, target)

    return make
