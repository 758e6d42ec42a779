"""YAML in and out: faults in one line with their place, keys given twice refused."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from headlong.errors import ParameterError

__all__ = ["dump_yaml", "parse_yaml"]


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which the last would win unseen."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse_yaml(path: Path, *, quick: bool = False) -> object:
    """What a YAML file holds.

    Args:
        quick: use the parser in C where it was built, twenty times as fast, for large files that a
            program wrote.

    Raises:
        ParameterError: it is not well formed.
        OSError: it cannot be read.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader) if quick else _Loader
    try:
        return yaml.load(path.read_bytes(), Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ParameterError(f"{path}: {place}{error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:
        told = " ".join(str(error).split())
        raise ParameterError(f"{path} is not well formed YAML: {told}") from None


def dump_yaml(fields: object) -> str:
    """YAML in which lists of numbers take few lines."""
    return yaml.dump(fields, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=100)


class _Dumper(yaml.SafeDumper):
    """Writes lists of numbers in flow style."""


def _list(dumper: yaml.SafeDumper, data: list[object]) -> yaml.Node:
    flat = not any(isinstance(one, dict | list | str) for one in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flat)


_Dumper.add_representer(list, _list)
