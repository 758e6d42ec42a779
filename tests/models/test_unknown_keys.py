from __future__ import annotations

from pathlib import Path

from headlong.gguf import GGUFWriter, open_gguf
from headlong.models.config import unknown_keys
from tiny import TinySpec, write_tiny


def test_keys_without_effect_are_named(tmp_path: Path) -> None:
    path = tmp_path / "more.gguf"
    write_tiny(tmp_path / "tiny.gguf", TinySpec())
    with open_gguf(tmp_path / "tiny.gguf") as file:
        assert unknown_keys(file.metadata) == []
        writer = GGUFWriter(path)
        writer.copy_metadata(file.metadata)
        writer.add_uint32("qwen35.attention.sliding_window", 512)
        writer.write()
    with open_gguf(path) as file:
        assert unknown_keys(file.metadata) == ["qwen35.attention.sliding_window"]
