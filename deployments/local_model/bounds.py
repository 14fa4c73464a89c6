"""
Bounds on what a reply's JSON schema allows.

A model this small, held to a schema, fills the first open string until its tokens run out, and the
reply is cut before one item is whole. A string, list, number or object with an end makes it move on.
What keeps to the bounded schema keeps to the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["bounded_schema", "wanted_schema"]

_NUMBERS: Mapping[str, dict[str, Any]] = {
    "integer": {"minimum": 0, "maximum": 9999},
    "number": {"minimum": 0, "maximum": 100, "multipleOf": 0.01},
}
"""Digits may go on for ever, too."""


def wanted_schema(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The JSON schema that a request's `response_format` holds the reply to, if it does."""
    named = _object(_object(body.get("response_format")).get("json_schema"))
    return _object(named.get("schema")) or None


def bounded_schema(schema: Any, max_chars: int, max_items: int) -> Any:
    """Every string ends after `max_chars` characters, every list after `max_items` items.

    Bounds that the schema has already are kept.
    """
    if isinstance(schema, list):
        return [bounded_schema(part, max_chars, max_items) for part in schema]
    if not isinstance(schema, dict):
        return schema
    bounded = {name: bounded_schema(part, max_chars, max_items) for name, part in schema.items()}
    return {**_own_bounds(schema, max_chars, max_items), **bounded}


def _own_bounds(schema: dict[str, Any], max_chars: int, max_items: int) -> dict[str, Any]:
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    bounds: dict[str, Any] = {}
    if "enum" in schema or "const" in schema:
        return bounds
    for kind in kinds:
        bounds |= _NUMBERS.get(kind, {}) if isinstance(kind, str) else {}
    if "string" in kinds:
        bounds["maxLength"] = max_chars
    if "array" in kinds:
        bounds["maxItems"] = max_items
    if "properties" in schema:
        bounds["additionalProperties"] = False
    return bounds


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
