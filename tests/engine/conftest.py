"""Models for the engine: a chain that the head knows in part, with and without an end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from altered import alter
from headlong.gguf import open_gguf
from headlong.gguf.dequant import dequantise
from tiny import Chain, Tiny, TinySpec, write_tiny


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Text in ASCII that never ends by itself; three of ten drafts are wrong."""
    path = tmp_path_factory.mktemp("engine") / "chain.gguf"
    return write_tiny(path, TinySpec(chain=Chain(), printable=True))


@pytest.fixture(scope="session")
def ending(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Text in ASCII that ends within some hundred tokens; the head knows the end."""
    path = tmp_path_factory.mktemp("engine") / "ending.gguf"
    return write_tiny(path, TinySpec(chain=Chain(ends=True, misleading=0.1), printable=True))


@pytest.fixture(scope="session")
def poisoned(chain: Tiny) -> Tiny:
    """The chain, except that the first of its likely tokens, once read, makes everything NaN."""
    with open_gguf(chain.path) as file:
        info = file.tensors["token_embd.weight"]
        table = dequantise(file.data(info.name), info.type, info.rows, info.cols)
    table[chain.likely[0]] = np.nan
    path = chain.path.with_name("poisoned.gguf")
    return replace(chain, path=alter(chain.path, path, tensors={"token_embd.weight": table}))


@pytest.fixture(scope="session")
def broken_head(chain: Tiny) -> Tiny:
    """The chain with an MTP head that computes NaN only."""
    name = f"blk.{chain.spec.layers}.nextn.enorm.weight"
    broken = np.full(chain.spec.hidden, np.nan, np.float32)
    path = chain.path.with_name("broken_head.gguf")
    return replace(chain, path=alter(chain.path, path, tensors={name: broken}))
