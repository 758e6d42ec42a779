"""The shape of the code: imports run downwards, and the map names every file."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "headlong"

# Lower first.  A package may import from itself and from those before it in this list.
LAYERS = [
    "errors",
    "progress",
    "_native",
    "gguf",
    "bench",
    "tokenizer",
    "ops",
    "models",
    "cache",
    "sampling",
    "speculation",
    "engine",
    "llm",
    "tools",
    "server",
    "cli",
]
MODULES = sorted(p for p in SOURCE.rglob("*.py"))


def layer_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_layers(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "headlong":
                names = [f"headlong.{alias.name}" for alias in node.names]
            else:
                names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("headlong.")}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_run_downwards(path: Path) -> None:
    layer = layer_of(path)
    if layer in ("__init__", "__main__"):
        return
    allowed = LAYERS[: LAYERS.index(layer) + 1]
    above = {name for name in imported_layers(path) if name in LAYERS} - set(allowed)
    assert not above, f"{layer} imports from above itself: {above}"


def test_layers_are_the_packages() -> None:
    found = {layer_of(p) for p in MODULES} - {"__init__", "__main__"}
    assert found <= set(LAYERS)


def test_the_map_names_every_file() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode != 0:
        pytest.skip("not a git checkout: no list of files to compare the map with")
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`([^`\s]+)`", text))
    kinds = (".py", ".cpp", ".hpp")
    files = {
        name
        for name in listed.stdout.splitlines()
        if name.endswith(kinds)
        and name.startswith(("src/headlong/", "native/", "benchmarks/", "training/"))
        and not name.endswith("__init__.py")
        and (ROOT / name).exists()
    }
    short = {name.removeprefix("src/headlong/") for name in files}
    assert not short - named, "docs/architecture.md does not name these"
    gone = {n for n in named if n.endswith(kinds) and "/" in n and n not in short}
    gone = {n for n in gone if not n.startswith("tests/")}
    assert not gone, "docs/architecture.md names files that do not exist"


def test_modules_stay_small() -> None:
    large = {
        str(p.relative_to(SOURCE)): n
        for p in MODULES
        if (n := len(p.read_text().splitlines())) > 450
    }
    assert not large, "split at the second responsibility, not the tenth"
