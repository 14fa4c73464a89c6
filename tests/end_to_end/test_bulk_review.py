"""The whole job as a user runs it: the command line, real processes, the sandbox upstream."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest

from deployments.sandbox import Sandbox
from flows.cli.main import main
from tasks.outputs.schemas import SCHEMAS

SAMPLES = Path(__file__).parents[2] / "data" / "samples" / "samples.jsonl"
TABLES = ("reviews", "comments", "calls")


def config(
    sandbox: Sandbox,
    *,
    quota: str = "[]",
    head: str = "",
    review: bool = True,
    processes: int = 2,
) -> str:
    """Two keys, two checks, a review model."""
    mode = "check_and_review" if review else "check"
    return f"""
mode = "{mode}"
processes = {processes}
state = "state"
margin = 0.1
{head}
[app_ids.alpha]
key = "env:KEY_A"
base_url = "{sandbox.base_url}"
quota = {quota}
[app_ids.bravo]
key = "env:KEY_B"
base_url = "{sandbox.base_url}"
quota = {quota}
[[check]]
name = "one"
model = "check-1"
[[check]]
name = "two"
model = "check-2"
stream = true
[review]
model = "review-1"
"""


def manifest(output: Path) -> dict[str, Any]:
    return dict(json.loads((output / "manifest.json").read_text()))


def test_a_run_and_its_rerun(sandbox: Sandbox, make_job: Callable[..., Any]) -> None:
    """The samples go through whole under a tight quota; a second run makes no call."""
    sandbox.control(quota=["20/3s"], latency=0.05)
    job = make_job(config(sandbox, quota='["20/3s"]'))
    first = job.run(SAMPLES)
    assert first.code == 0, first.err
    samples = SAMPLES.read_text().splitlines()
    assert f"complete: {len(samples)} of {len(samples)} inputs" in first.out

    seen = sandbox.stats()
    assert seen["refused"] == 0
    assert all(key["windows"][0]["peak_arrived"] <= 20 for key in seen["keys"].values())
    assert seen["billed_twice"] == 0
    facts = manifest(job.output)
    cells = facts["counts"]["cells"]
    assert cells["planned"] == 3 * len(samples) == cells["ok"] + cells["skipped"]
    assert facts["figures"]["quota"]["kept"]
    assert facts["figures"]["quota"]["sends"] == seen["requests"]
    _opens_everywhere(job.output, len(samples))

    again = job.run(SAMPLES, output=job.folder / "again" / "{run_id}")
    assert again.code == 0, again.err
    (folder,) = (job.folder / "again").iterdir()
    assert manifest(folder)["run_id"] == folder.name
    assert str(folder) in again.out
    assert sandbox.stats()["requests"] == seen["requests"]
    assert _reviews(folder) == _reviews(job.output)


def _opens_everywhere(output: Path, inputs: int) -> None:
    """Each table has its whole schema, and opens in pandas and DuckDB in one line."""
    for name in TABLES:
        path = output / f"{name}.parquet"
        assert pq.read_schema(path).names == SCHEMAS[name].names
        counted = duckdb.sql(f"select count(*) from '{path}'").fetchall()
        assert counted == [(len(pd.read_parquet(path)),)]
    raised = duckdb.sql(f"select sum(n_comments) from '{output}/reviews.parquet'").fetchall()
    assert raised == [(len(pd.read_parquet(output / "comments.parquet")),)]
    document = json.loads((output / "reviews.json").read_text())
    assert len(document) == inputs
    assert list(document) == sorted(document)
    assert all(set(entry["output_pred"]) == {"one", "two"} for entry in document.values())


def _reviews(output: Path) -> dict[str, Any]:
    document = json.loads((output / "reviews.json").read_text())
    found = {key: value["output_pred"] for key, value in document.items()}
    # A second run knows the first one's findings: only their age differs.
    for comments in (some for checks in found.values() for some in checks.values()):
        for comment in comments or ():
            comment.pop("age")
            comment.pop("since")
    return found


def test_found_nothing_differs_from_failed(
    sandbox: Sandbox, make_job: Callable[..., Any], tmp_path: Path
) -> None:
    """A silent model leaves empty lists, a failing one null, and only the second makes the run incomplete."""
    sandbox.control(
        models={"check-1": {"skill": "silent"}},
        script=[{"fault": "content_filter", "model": "check-2"}],
    )
    source = tmp_path / "two.jsonl"
    source.write_text("".join(line + "\n" for line in SAMPLES.read_text().splitlines()[:2]))
    job = make_job(config(sandbox, processes=1))
    ended = job.run(source)
    assert ended.code == 3, ended.err
    assert "INCOMPLETE: 0 of 2 inputs, 2 not in full: 2 content_filter" in ended.out
    for entry in json.loads((job.output / "reviews.json").read_text()).values():
        assert entry["output_pred"] == {"one": [], "two": None}
        assert entry["coverage"] == "partial"
    calls = pd.read_parquet(job.output / "calls.parquet").set_index(["stage", "name"])
    assert set(calls.loc[("check", "two"), "reason"]) == {"content_filter"}
    assert set(calls.loc[("review", "review"), "reason"]) == {"no_comments"}
    assert (calls.loc[("check", "two"), "input_tokens"] > 0).all()  # a filtered reply is paid for

    tolerant = make_job(config(sandbox, processes=1, head='accept = { failed_cells = "50%" }'))
    accepted = tolerant.run(source)
    assert accepted.code == 0, accepted.err
    assert "accepted with gaps: 0 of 2 inputs, 2 not in full: 2 content_filter" in accepted.out
    assert main(["verify", str(tolerant.output)]) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("env:KEY_A", "env:NOT_SET"), "NOT_SET is not set"),
        (("mode =", "modus ="), "modus: unknown key"),
    ],
)
def test_bad_config_writes_nothing_over(
    sandbox: Sandbox, make_job: Callable[..., Any], change: tuple[str, str], said: str
) -> None:
    """A wrong review.toml ends with exit code 2 and its remedy; earlier outputs stay as they were."""
    job = make_job(config(sandbox).replace(*change, 1))
    job.output.mkdir()
    (job.output / "reviews.json").write_text("earlier")
    ended = job.run(SAMPLES, "--limit", "1", "--overwrite")
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert (job.output / "reviews.json").read_text() == "earlier"


def test_bad_rows_are_reported_and_the_rest_goes_on(
    sandbox: Sandbox, make_job: Callable[..., Any], tmp_path: Path
) -> None:
    """Broken, empty, doubled rows end in rejected.jsonl with number and reason.

    An app_id whose list of models is empty serves them all.
    """
    source = tmp_path / "mixed.jsonl"
    rows = [
        '{"input_id": "a", "content": "x = 1"}',
        "{broken",
        '{"input_id": "b", "content": "  "}',
        '{"input_id": "a", "content": "y = 2"}',
        '{"input_code": "z = 3", "team": {"name": "kept"}}',
        '{"input_id": "c", "content": 7}',
    ]
    source.write_text("\n".join(rows))
    text = config(sandbox, review=False, processes=1)
    job = make_job(text.replace("[app_ids.alpha]", "[app_ids.alpha]\nmodels = []"))
    ended = job.run(source)
    assert ended.code == 0, ended.err
    rejected = [
        json.loads(line) for line in (job.output / "rejected.jsonl").read_text().splitlines()
    ]
    assert [(row["row"], row["reason"]) for row in rejected] == [
        (2, "broken_line"),
        (3, "empty_content"),
        (4, "duplicate_id"),
        (6, "content_not_text"),
    ]
    document = json.loads((job.output / "reviews.json").read_text())
    assert len(document) == 2
    assert [entry["team"] for entry in document.values() if "team" in entry] == [{"name": "kept"}]


def test_no_usable_row_is_an_error(
    sandbox: Sandbox, make_job: Callable[..., Any], tmp_path: Path
) -> None:
    """A source without one usable row ends with exit code 2 and the first reason."""
    source = tmp_path / "bad.jsonl"
    source.write_text("{broken\n")
    ended = make_job(config(sandbox)).run(source)
    assert ended.code == 2
    assert "no usable row" in ended.err
    assert "row 1" in ended.err
