"""Types of a file's matrices that the kernels compute with, in another form, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headlong import LLM
from headlong.errors import UnsupportedError
from headlong.gguf import GGMLType, GGUFWriter, open_gguf
from headlong.progress import Silent
from tiny import TinySpec, write_tiny


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.parametrize("kind", [GGMLType.IQ2_XXS, GGMLType.IQ3_S, GGMLType.TQ1_0])
def test_a_type_that_cannot_be_read_is_refused_by_name(tmp_path: Path, kind: GGMLType) -> None:
    write_tiny(tmp_path / "tiny.gguf", TinySpec())
    target = "blk.0.ffn_up.weight"
    with open_gguf(tmp_path / "tiny.gguf") as file:
        writer = GGUFWriter(tmp_path / "odd.gguf")
        writer.copy_metadata(file.metadata)
        for name, info in file.tensors.items():
            if name == target:
                raw = np.zeros(info.rows * kind.row_bytes(info.cols), np.uint8)
                writer.add_tensor(name, raw, kind, info.shape)
            else:
                writer.add_tensor(name, file.data(name), info.type, info.shape)
        writer.write()
    with pytest.raises(UnsupportedError, match=rf"{target}.*{kind.name}"):
        LLM(tmp_path / "odd.gguf")


def test_a_type_without_a_kernel_is_computed_in_another_and_says_so(tmp_path: Path) -> None:
    write_tiny(tmp_path / "q3.gguf", TinySpec(weights="Q3_K"))
    notes = Notes()
    llm = LLM(tmp_path / "q3.gguf", progress=notes)
    assert len(llm.generate([40, 41]).tokens) > 0
    assert any("Q3_K are computed as Q6_K" in line for line in notes.lines)
