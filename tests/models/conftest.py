"""Very small models, so that many of them can be written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_spec import SMALL

from tiny import TinySpec, write_tiny


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four trunk layers, the last with attention; block 4 is the MTP head."""
    return write_tiny(tmp_path_factory.mktemp("models") / "small.gguf", SMALL).path


@pytest.fixture(scope="session")
def write(tmp_path_factory: pytest.TempPathFactory) -> Callable[[TinySpec], Path]:
    """Writes a model to a file of its own."""

    def write(spec: TinySpec) -> Path:
        return write_tiny(tmp_path_factory.mktemp("models") / "model.gguf", spec).path

    return write
