"""Schemas and what else is asked of grammars, for tests of what comes out under them."""

from __future__ import annotations

from typing import Any, Final

SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "nested": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "place": {
                "type": "object",
                "properties": {
                    "x": {"type": "integer", "minimum": -5, "maximum": 400},
                    "y": {"type": "number", "minimum": -2.5, "maximum": 1e3},
                },
                "required": ["x", "y"],
                "additionalProperties": False,
            },
        },
        "required": ["name", "place"],
        "additionalProperties": False,
    },
    "choices": {
        "type": "array",
        "items": {"enum": ["red", "grün", "bleu", None, 7, True]},
        "minItems": 2,
        "maxItems": 4,
    },
    "references": {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "value": {"type": "boolean"},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                },
                "required": ["value", "next"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/node",
    },
    "text": {
        "type": "object",
        "properties": {
            "日本": {"type": "string", "pattern": "^[ぁ-ゟé]{1,4}$"},
            "day": {"type": "string", "format": "date"},
            "any": {"type": "string", "minLength": 1, "maxLength": 6},
        },
        "required": ["日本", "day", "any"],
        "additionalProperties": False,
    },
    "constant": {"const": {"a": [1, "ü", None]}},
}

TOOLS: Final[list[dict[str, Any]]] = [
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "parameters": {
                "type": "object",
                "properties": {
                    "word": {"type": "string"},
                    "language": {"type": "string", "enum": ["de", "fr"]},
                    "limit": {"type": "integer", "minimum": 1, "maximum": 9},
                    "point": {"$ref": "#/$defs/point"},
                    "exact": {"type": "boolean"},
                },
                "required": ["word", "point"],
                "$defs": {
                    "point": {
                        "type": "object",
                        "properties": {"x": {"type": "integer", "maximum": 99}},
                        "required": ["x"],
                        "additionalProperties": False,
                    }
                },
            },
        },
    },
    {"type": "function", "function": {"name": "now"}},
]
