"""Models for the server's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiny import Chain, TinySpec, write_tiny


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain of printable text, whose MTP head is right most of the time."""
    spec = TinySpec(chain=Chain(), printable=True, context=2048)
    return write_tiny(tmp_path_factory.mktemp("server") / "chain.gguf", spec).path


@pytest.fixture(scope="session")
def headless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without an MTP head."""
    folder = tmp_path_factory.mktemp("server")
    return write_tiny(folder / "no-head.gguf", TinySpec(mtp=False, printable=True)).path
