"""Reports over HTTP: listed, linked, and closed to everybody but their owner."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from deployments.run_pages.listing import read_runs, trends_of
from deployments.run_pages.page import render_runs, spark_line
from deployments.run_pages.server import make_app
from tasks.core.paths import RunPaths
from tasks.report.links import REPORTS_FOLDER, REPORTS_URL, report_link

LOGIN = "admin:a-login-of-its-own"


def make_run(root: Path, name: str, **facts: Any) -> Path:
    """The files of a finished run, as far as the pages read them."""
    manifest = {
        "started_at": "2026-11-27T01:30:00+00:00",
        "source": "git:.@since=last",
        "result": "complete: 10 of 10 inputs",
        "complete": True,
        "counts": {"inputs": 10, "coverage": {"complete": 10}},
        "figures": {"severities": {"high": {"bug": 2}}, "cost_usd": 1.25, "cost_gap": None},
    }
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(manifest | facts))
    (folder / "report.html").write_text("<h1>the report</h1>")
    (folder / "comments.parquet").write_text("code")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two runs of one source, the newer one with gaps."""
    folder = tmp_path / "runs"
    make_run(folder, "first")
    make_run(
        folder,
        "nights/second",
        started_at="2026-11-28T01:30:00+00:00",
        result="INCOMPLETE: 9 of 10 inputs, 1 not in full: 1 <timeout>",
        complete=False,
        counts={"inputs": 10, "coverage": {"complete": 9, "failed": 1}},
        history={"new": 0},
        figures={"severities": {}, "cost_usd": 2.5, "cost_gap": "1 call of unknown cost"},
    )
    return folder


@pytest.fixture
def http(root: Path) -> Iterator[httpx.Client]:
    """A browser that knows the login."""
    user, _, password = LOGIN.partition(":")
    with TestClient(make_app(root, LOGIN), base_url="http://127.0.0.1") as client:
        client.auth = (user, password)
        yield client


def test_the_list_says_what_each_run_was(http: httpx.Client) -> None:
    """Date, source, result, findings, cost, coverage and a link; the newest first, words escaped."""
    text = http.get("/").text

    assert text.index("/nights/second/report.html") < text.index("/first/report.html")
    assert "1 &lt;timeout&gt;" in text
    assert "over $2.50" in text
    assert "90 %" in text
    assert '<td data-name="findings">2: 2 high</td>' in text
    assert '<td data-name="findings">none; 0 new</td>' in text
    assert http.get("/first/report.html").text == "<h1>the report</h1>"


def test_trends_are_lines_of_the_runs_of_a_source(root: Path) -> None:
    """Findings, cost and coverage from the oldest run to the newest, each with words for it."""
    runs = read_runs(root)
    (trend,) = trends_of(runs)
    text = render_runs(runs, [trend])

    assert [run.folder for run in trend.runs] == ["first", "nights/second"]
    assert 'aria-label="cost: 1.25 in the first run, 2.5 in the last"' in text
    assert "coverage: 100 in the first run, 90 in the last" in text
    assert text.count("<polyline") == 3
    assert 'points="3.0,27.0 147.0,3.0"' in spark_line("rising", [1, 2])
    assert 'points="3.0,15.0 147.0,15.0"' in spark_line("flat", [2, 2])


@pytest.mark.parametrize(
    "path",
    [
        "/first/comments.parquet",
        "/first/",
        "/first",
        "/report.html",
        "/../secret/report.html",
        "/first/..%2F..%2Fsecret/report.html",
        "/linked/report.html",
        "/.hidden/report.html",
        "/unfinished/report.html",
        "/%00/report.html",
    ],
)
def test_nothing_but_reports_is_served(
    http: httpx.Client, root: Path, tmp_path: Path, path: str
) -> None:
    """No other file, no folder, nothing outside, hidden, linked or unfinished."""
    make_run(tmp_path, "secret")
    make_run(root, ".hidden")
    (root / "linked").symlink_to(tmp_path / "secret")
    (root / "unfinished").mkdir()
    (root / "unfinished" / "report.html").write_text("half")

    assert http.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/first/report.html", "/nothing"])
def test_it_is_closed_to_others(root: Path, path: str) -> None:
    """Without the login 401, under another host's name 400; every answer says what a page may load."""
    with TestClient(make_app(root, LOGIN), base_url="http://127.0.0.1") as client:
        for auth in (None, ("admin", "wrong")):
            refused = client.get(path, auth=auth)
            assert refused.status_code == 401
            assert refused.headers["content-security-policy"].startswith("default-src 'none'")
        assert client.get(path, headers={"Host": "evil.example"}).status_code == 400
        user, _, password = LOGIN.partition(":")
        known = client.get(path, auth=(user, password)).headers
        assert "default-src 'none'" in known["content-security-policy"]
        assert known["x-content-type-options"] == "nosniff"
        assert client.post("/", auth=(user, password)).status_code == 405


def test_an_odd_manifest_does_not_take_the_others_along(root: Path) -> None:
    """Text, another shape and an unreadable date are passed over."""
    for number, text in enumerate(["{", "[]", '{"started_at": "x"}', '{"figures": 3}']):
        folder = make_run(root, f"odd-{number}")
        (folder / "manifest.json").write_text(text)

    assert len(read_runs(root)) == 2


def test_a_run_is_linked_only_where_its_folder_is_served(tmp_path: Path) -> None:
    """The report's URL below the served folder; none elsewhere, and none without a server."""
    served = {REPORTS_URL: "http://127.0.0.1:4201", REPORTS_FOLDER: str(tmp_path / "runs")}
    inside, outside = (RunPaths(tmp_path / place) for place in ("runs/a night", "elsewhere"))

    assert report_link(inside, served) == "http://127.0.0.1:4201/a%20night/report.html"
    assert report_link(outside, served) is None
    assert report_link(inside, {}) is None
