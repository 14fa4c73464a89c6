"""
A finished run without a model: inputs, comments, verdicts and calls of a made-up run.

Everything goes through the project's own clustering, policy and writers, so that tables and
manifest look as after a real run. The same `seed` gives the same run.
"""

from __future__ import annotations

import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import orjson
import pyarrow as pa

from tasks.core.cells import RunCounts, cells_of, coverage_of, planned_cells
from tasks.core.paths import RunPaths
from tasks.core.policy_settings import Policy
from tasks.core.records import CATEGORIES, SEVERITIES, CallRow, Comment, Decision, Input, Verdict
from tasks.outputs.schemas import COMMENTS
from tasks.review.findings.clusters import cluster
from tasks.review.findings.findings import Findings, findings_of
from tasks.review.findings.policy import apply_policy
from tasks.review.places.fingerprints import fingerprint, with_ordinals
from tasks.write.rows import comment_rows
from tasks.write.task import write_outputs

__all__ = [
    "CHECKS",
    "CODE",
    "QUOTA",
    "STARTED",
    "STRICT",
    "comment",
    "findings",
    "made_up",
    "make_run",
    "manifest_of",
    "write_run",
]

CHECKS = {"large": "model-l", "mini": "model-s", "other-family": "model-x"}
STARTED = 1_795_480_000.0
QUOTA = (3, 60.0)
POOL = ("team-a", "team-b", "team-c", "team-d")

STRICT = """
[app_ids.a]
key = "env:K"
base_url = "http://127.0.0.1:1/v1"
quota = []
[[check]]
name = "large"
model = "m"
[review]
model = "r"
[policy]
min_severity = "high"
min_score = 7
"""
"""A review.toml whose policy keeps only what is severe and sure."""

CODE = [
    "def total(rows, limit=[]):",
    "    for i in range(len(rows) + 1):",
    "        limit.append(rows[i].price)",
    "    query = 'select * from users where name = ' + name",
    "    if rows == None or not rows:",
    "        return 0",
    "    handle = open(path)",
    "    return sum(limit) / len(rows)",
]
TEXTS = {
    "bug": (
        "Loop runs past the end",
        "The range has one index too many: `rows[len(rows)]` raises.",
    ),
    "security": ("Query built from user input", "`name` goes into the SQL text as it came."),
    "performance": (
        "Price read again each time",
        "Every pass asks the database for one row.",
    ),
    "maintainability": ("Mutable default argument", "`limit` keeps its items between calls."),
    "test": ("Test cannot fail", "The assertion compares the value with itself."),
    "style": ("Comparison to None", "Use `is None`."),
    "documentation": ("Docstring names a wrong unit", "It says seconds, the value is in minutes."),
    "other": ("File is never closed", "`handle` stays open when the next line raises."),
}


def comment(input_id: str = "a", **fields: Any) -> Comment:
    """One comment with sensible fields; any of them can be given."""
    line = fields.pop("line", 2)
    given = {
        "comment_id": f"{input_id}-{fields.get('check_model', 'large')}-{line}",
        "check_model": "large",
        "path": "src/app.py",
        "side": "right",
        "start_line": line,
        "end_line": line,
        "loc_method": "exact",
        "category": "bug",
        "severity": "high",
        "confidence": 0.8,
        "title": "Loop runs past the end",
        "message": "The range has one index too many.",
        "rationale": "A list of two rows makes it read rows[2].",
        "existing_code": CODE[1],
        "suggestion": "    for i in range(len(rows)):",
        "fingerprint": "",
    } | fields
    made = Comment(**given)
    name = fingerprint(made.path, made.category, made.existing_code)
    return made if made.fingerprint else replace(made, fingerprint=name)


def findings(*comments: Comment, **source: Any) -> Findings:
    """Findings of one input that has these comments, by way of the table's schema."""
    row = {"input_id": "a", "kind": "snippet", "path": "src/app.py"} | source
    review = {"input_id": row["input_id"], "comments": [asdict(one) for one in comments]}
    batch = pa.RecordBatch.from_pylist(comment_rows(review, "run"), schema=COMMENTS)
    return findings_of(row, batch.to_pylist())


def made_up(rng: random.Random, number: int) -> tuple[Input, list[Comment], list[CallRow]]:
    """One input with what the checks and the review said of it."""
    input_id = f"input-{number:05d}"
    path = f"src/{rng.choice(['api', 'billing', 'core', 'jobs'])}/module_{number % 97}.py"
    source = Input(input_id, "\n".join(CODE), path=path, language="python", title="Sum the rows")
    issues = [
        (rng.choice(CATEGORIES), rng.choices(SEVERITIES, (1, 4, 6, 5))[0], line)
        for line in rng.sample(range(1, len(CODE) + 1), rng.choice((0, 0, 1, 1, 2, 3)))
    ]
    found = [
        _raised(rng, source, name, issue)
        for issue in issues
        for name in CHECKS
        if rng.random() < 0.55
    ]
    judged = [replace(one, verdict=_verdict(rng, one)) for one in cluster(with_ordinals(found))]
    comments = apply_policy(judged, Policy(), source)
    return source, list(comments), _calls(rng, source, number)


def _raised(rng: random.Random, source: Input, check: str, issue: tuple[str, str, int]) -> Comment:
    category, severity, line = issue
    title, message = TEXTS[category]
    return comment(
        source.input_id,
        comment_id=f"{source.input_id}-{check}-{line}",
        check_model=check,
        path=source.path,
        line=line,
        category=category,
        severity=severity,
        title=title,
        message=message,
        existing_code=CODE[line - 1],
        suggestion=_improved(CODE[line - 1]) if rng.random() < 0.5 else None,
    )


def _improved(line: str) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    return f"{indent}# as agreed in the team's guide\n{line.replace(' + 1', '')}\n"


def _verdict(rng: random.Random, one: Comment) -> Verdict | None:
    chance = rng.random()
    if chance < 0.04:
        return Verdict("model-r", "call_failed")
    good = chance < 0.3 + 0.18 * one.agreement
    decision: Decision
    decision, score = ("confirmed", rng.randint(5, 10)) if good else ("rejected", rng.randint(0, 3))
    if not good and chance > 0.9:
        decision, score = "uncertain", rng.randint(3, 6)
    return Verdict(
        "model-r", "ok", decision, score, "The code says so.", one.existing_code, None, None, None
    )


def _calls(rng: random.Random, source: Input, number: int) -> list[CallRow]:
    cells = [("check", name, model) for name, model in CHECKS.items()]
    return [
        _call(rng, source, cell, number * 4 + place)
        for place, cell in enumerate([*cells, ("review", "review", "model-r")])
    ]


def _call(rng: random.Random, source: Input, cell: tuple[str, str, str], number: int) -> CallRow:
    stage, name, model = cell
    limit, seconds = QUOTA
    app_id, turn = POOL[number % len(POOL)], number // len(POOL)
    started = STARTED + (turn // limit) * (seconds + 0.4) + rng.random() * 0.2
    latency = int(rng.lognormvariate(8.2, 0.5))
    failed = rng.random() < 0.01
    return CallRow(
        input_id=source.input_id,
        stage=cast("Any", stage),
        name=name,
        part=0,
        model=model,
        status="failed" if failed else "ok",
        reason=rng.choice(("timeout", "content_filter")) if failed else None,
        app_id=app_id,
        parse_mode=None if failed else "schema",
        attempts=2 if failed else 1,
        journaled=rng.random() < 0.1,
        latency_ms=latency,
        queue_ms=rng.randint(0, 9000),
        started_at=started,
        input_tokens=900 + rng.randint(0, 500),
        output_tokens=200 + rng.randint(0, 300),
        cost_usd=0.0004,
    )


def make_run(
    root: Path, inputs: int = 40, seed: int = 7, **facts: Any
) -> tuple[RunPaths, dict[str, Any]]:
    """Write the tables of a made-up run; returns its paths and its manifest."""
    rng = random.Random(seed)
    return write_run(root, [made_up(rng, number) for number in range(inputs)], **facts)


def write_run(
    root: Path, reviews: list[tuple[Input, list[Comment], list[CallRow]]], **facts: Any
) -> tuple[RunPaths, dict[str, Any]]:
    """Write the tables of these reviews; `facts` replace those of the manifest."""
    paths, counts = RunPaths(root), RunCounts()
    paths.work.mkdir(parents=True)
    planned = planned_cells(list(CHECKS), reviews=True)
    with paths.merged.open("wb") as file:
        for source, comments, calls in sorted(reviews, key=lambda one: one[0].input_id):
            cells = cells_of(planned, calls, "missing") if calls else ()
            coverage, reason = coverage_of(cells, None) if cells else ("complete", None)
            drops = [one.drop_reason or "" for one in comments if one.outcome == "dropped"]
            counts.add(cells, coverage, [one.outcome for one in comments], drops)
            review = {
                "input_id": source.input_id,
                "coverage": coverage,
                "coverage_reason": reason,
                "comments": [asdict(one) for one in comments],
                "calls": [asdict(one) for one in calls],
            }
            file.write(orjson.dumps({"input": asdict(source), "review": review}) + b"\n")
    write_outputs(paths, "20261124T013000-abc123", {"source": "diffs.jsonl"})
    manifest = manifest_of(counts) | facts
    paths.manifest.write_bytes(orjson.dumps(manifest))
    return paths, manifest


def manifest_of(counts: RunCounts) -> dict[str, Any]:
    """The facts of manifest.json for a run with these counts."""
    window = f"{QUOTA[0]}/{QUOTA[1]:g}s"
    return {
        "run_id": "20261124T013000-abc123",
        "result": counts.sentence(),
        "complete": counts.whole,
        "source": "diffs.jsonl",
        "started_at": "2026-11-24T01:30:00+00:00",
        "seconds": 1234.5,
        "flow_run_id": None,
        "rejected": {"rows": 3, "reasons": {"empty_content": 3}},
        "counts": counts.as_dict(),
        "settings": {"app_ids": {alias: {"quota": [window]} for alias in POOL}},
        "packages": {"nightly-review": "0.1.0"},
    }
