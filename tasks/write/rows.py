"""One merged input -> the rows of every output. Pure: dicts in, dicts out, in schema order."""

from __future__ import annotations

import hashlib

import orjson

from tasks.core.records import Row
from tasks.outputs.schemas import SCHEMA_VERSION

__all__ = ["call_rows", "comment_rows", "json_entry", "review_row"]


_COPIED = ("input_id", "kind", "path", "language", "title", "expected")


def review_row(item: Row, review: Row, run_id: str) -> Row:
    """The row of reviews.parquet."""
    comments = review["comments"]
    outcomes = [comment["outcome"] for comment in comments]
    return {
        **{name: item[name] for name in _COPIED},
        "run_id": run_id,
        "input_sha256": hashlib.sha256(item["content"].encode()).hexdigest(),
        "coverage": review["coverage"],
        "coverage_reason": review["coverage_reason"],
        "comments": comments,
        "calls": [_without_id(call) for call in review["calls"]],
        "extra": orjson.dumps(item["extra"]).decode(),
        "n_comments": len(comments),
        "n_kept": outcomes.count("kept"),
        "n_unverified": outcomes.count("unverified"),
        "schema_version": SCHEMA_VERSION,
    }


def comment_rows(review: Row, run_id: str) -> list[Row]:
    """The rows of comments.parquet."""
    return [_flat(comment, review["input_id"], run_id) for comment in review["comments"]]


def _flat(comment: Row, input_id: str, run_id: str) -> Row:
    verdict = comment["verdict"] or {}
    columns = {f"verdict_{name}": value for name, value in verdict.items()}
    return {"input_id": input_id, "run_id": run_id, **comment, **columns}


def call_rows(review: Row, run_id: str) -> list[Row]:
    """The rows of calls.parquet."""
    return [{**call, "run_id": run_id} for call in review["calls"]]


def json_entry(item: Row, review: Row) -> Row:
    """The value under the input's id in reviews.json.

    `output_pred` has a list per check that answered, empty when it found nothing, and null for a
    check that failed and found nothing: the two never look alike. `failed_checks` has the reason
    of each check that failed, in one of its parts also. Columns of the source that are named like
    ours are in `extra`, under their names.
    """
    checks = [call for call in review["calls"] if call["stage"] == "check"]
    failed: Row = {}
    for call in checks:
        if call["status"] == "failed":
            failed.setdefault(call["name"], call["reason"])
    skipped = {call["name"] for call in checks if call["status"] == "skipped"}
    predicted: Row = {
        call["name"]: None if call["name"] in failed or call["name"] in skipped else []
        for call in checks
    }
    for comment in review["comments"]:
        predicted[comment["check_model"]] = [
            *(predicted.get(comment["check_model"]) or []),
            comment,
        ]
    given = {name: value for name, value in item.items() if name != "extra" and value is not None}
    ours = {
        **given,
        "coverage": review["coverage"],
        "coverage_reason": review["coverage_reason"],
        "output_pred": predicted,
        "failed_checks": failed,
    }
    clashing = {name: value for name, value in item["extra"].items() if name in {*ours, "extra"}}
    free = {name: value for name, value in item["extra"].items() if name not in clashing}
    return {**free, **ours, **({"extra": clashing} if clashing else {})}


def _without_id(call: Row) -> Row:
    return {name: value for name, value in call.items() if name != "input_id"}
