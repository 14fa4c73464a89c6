"""The schemas hold to the strict dialect and accept what the prompts ask for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from tasks.review.replies.contract import Level, response_format

COMMENT: dict[str, Any] = {
    "path": None,
    "existing_code": "x = 1",
    "start_line": 1,
    "end_line": None,
    "category": "bug",
    "rationale": "r",
    "severity": "low",
    "confidence": 0.5,
    "title": "t",
    "message": "m",
    "suggestion": None,
}
VERDICT: dict[str, Any] = {
    "comment_id": "c8",
    "evidence": None,
    "decision": "rejected",
    "score": 0,
    "reason": "r",
    "corrected_severity": None,
    "corrected_start_line": None,
    "corrected_end_line": None,
    "duplicate_of": None,
}
CASES = [("check", "comments", COMMENT), ("review", "verdicts", VERDICT)]


def _schema(stage: Any) -> dict[str, Any]:
    body = response_format(stage)
    assert body is not None
    assert body["type"] == "json_schema"
    assert body["json_schema"]["strict"] is True
    schema: dict[str, Any] = body["json_schema"]["schema"]
    return schema


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for value in schema.values():
            yield from _objects(value)


@pytest.mark.parametrize(("stage", "key", "item"), CASES)
def test_accepts_what_is_asked_for(stage: str, key: str, item: dict[str, Any]) -> None:
    """An empty list and a full item are valid; items come in the order of the contract."""
    jsonschema.validate({key: []}, _schema(stage))
    jsonschema.validate({key: [item, item]}, _schema(stage))
    assert [*_schema(stage)["properties"][key]["items"]["properties"]] == [*item]


@pytest.mark.parametrize(("stage", "key", "item"), CASES)
def test_refuses_anything_else(stage: str, key: str, item: dict[str, Any]) -> None:
    """A missing field, one too many, another root and an unknown word are invalid."""
    wrong = [{name: value for name, value in item.items() if name != left} for left in item]
    wrong += [item | {"more": 1}, item | {"severity": "awful", "decision": "perhaps"}]
    for bad in ({}, [], {key: None}, {key: [], "more": 1}, *({key: [one]} for one in wrong)):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, _schema(stage))


@pytest.mark.parametrize("stage", ["check", "review"])
def test_strict_dialect(stage: str) -> None:
    """Every object is closed and requires all it names; no keyword that strict endpoints refuse."""
    for schema in _objects(_schema(stage)):
        assert schema["additionalProperties"] is False
        assert schema["required"] == [*schema["properties"]]
    for word in ("minimum", "maximum", "maxLength", "maxItems", "default", "$ref"):
        assert f"'{word}'" not in str(_schema(stage))


@pytest.mark.parametrize(
    ("level", "kind"), [("json_schema", "json_schema"), ("json_object", "json_object")]
)
def test_levels(level: Level, kind: str) -> None:
    """Each level is weaker than the one before; the last leaves the parameter out."""
    body = response_format("check", level)
    assert body is not None
    assert body["type"] == kind
    assert response_format("check", "text") is None


def test_verdicts_name_comments_of_the_batch() -> None:
    """The schema names as many comments as a call may ask about, and no other: it is one per run."""
    body = response_format("review", batch=3)
    assert body is not None
    for given, valid in (("c1", True), ("c3", True), ("c4", False), ("c0ffee", False)):
        for field in ("comment_id", "duplicate_of"):
            verdicts = {"verdicts": [VERDICT | {"comment_id": "c2"} | {field: given}]}
            found = jsonschema.Draft202012Validator(body["json_schema"]["schema"])
            assert found.is_valid(verdicts) is valid
    assert response_format("review", batch=3) == body != response_format("review", batch=4)


def test_each_call_gets_its_own() -> None:
    """What a caller does to its body changes no other one."""
    first = response_format("check")
    assert first is not None
    first["json_schema"]["schema"]["properties"]["comments"]["items"]["properties"].clear()
    assert response_format("check") != first
