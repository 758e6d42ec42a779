"""The real Qwen3.5 vocabulary and chat template, where they are at hand."""

from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "qwen35"

needs_real_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="the folder ../shared/data/qwen35 with Qwen3.5's files is absent"
)
