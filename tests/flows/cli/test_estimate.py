"""`--estimate` against what a run then really does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from deployments.sandbox import Sandbox
from flows.cli.estimate import show_estimate
from tasks.core.settings import load_settings
from tasks.estimate.estimate import Estimate, estimate

CONFIG = """
processes = 1
state = "state"
[app_ids.a]
key = "env:KEY_A"
base_url = "{url}"
quota = "40/1s"
[[check]]
name = "one"
model = "check-1"
[[check]]
name = "two"
model = "check-2"
[review]
model = "review-1"
batch = 3
[prices.check-1]
input = 1.0
output = 2.0
"""


def _source(folder: Path, count: int) -> Path:
    path = folder / "inputs.jsonl"
    rows = [
        {"input_id": f"{n}", "content": f"def f{n}(rows):\n    return sum(rows) / {n}\n"}
        for n in range(count)
    ]
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def _calls(said: str) -> dict[str, tuple[int, int]]:
    """(calls, from journal) by name."""
    rows = re.findall(r"(one|two|review|all)\b[^│┃]*[│┃]\s*([\d,]+)\s*[│┃]\s*([\d,]+)", said)
    return {name: (int(a.replace(",", "")), int(b.replace(",", ""))) for name, a, b in rows}


def _estimated(source: Path, *, fresh: bool = False) -> dict[str, tuple[int, int]]:
    """The same from the estimate itself, in a folder with a review.toml."""
    settings = load_settings(Path("review.toml").read_text())
    return _counts(estimate(str(source), settings, None, fresh=fresh))


def _counts(found: Estimate) -> dict[str, tuple[int, int]]:
    counts = {load.name: (round(load.calls), round(load.journaled)) for load in found.loads}
    return counts | {
        "all": (sum(a for a, _ in counts.values()), sum(b for _, b in counts.values()))
    }


def test_it_calls_nobody_and_writes_nothing(
    sandbox: Sandbox, make_job: Callable[..., Any], tmp_path: Path
) -> None:
    """Before a first run: every check once, reviews assumed, tokens, cost and time; no trace left."""
    job = make_job(CONFIG.format(url=sandbox.base_url))
    job.environment["PREFECT_API_URL"] = "http://127.0.0.1:9/api"  # nothing listens there
    found = job.command(_source(tmp_path, 90), "--estimate")
    assert found.code == 0, found.err
    assert _calls(found.out) == {
        "one": (90, 0), "two": (90, 0), "review": (180, 0), "all": (360, 0)
    }  # fmt: skip
    assert "180 review calls are assumed" in found.out
    assert "at least 11 s under the quotas" in found.out  # 360 calls, 40 each 1.4 s
    assert "unknown" in found.out
    assert sandbox.stats()["requests"] == 0
    assert [path.name for path in job.folder.iterdir()] == ["review.toml"]


def test_what_the_journal_knows_is_not_estimated(
    sandbox: Sandbox,
    make_job: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a run all of it is in the journal, reviews too; more inputs add only their own calls."""
    job = make_job(CONFIG.format(url=sandbox.base_url))
    assert job.run(_source(tmp_path, 20)).code == 0
    made = sandbox.stats()["requests"]
    figures = json.loads((job.output / "manifest.json").read_text())["figures"]

    monkeypatch.chdir(job.folder)
    assert _estimated(_source(tmp_path, 20))["all"] == (0, made) == (0, figures["calls"])
    more = _estimated(_source(tmp_path, 25))
    assert more["one"] == (5, 20)
    assert more["review"][0] == 10
    assert _estimated(tmp_path / "inputs.jsonl", fresh=True)["one"] == (25, 0)
    assert sandbox.stats()["requests"] == made


def test_a_large_source_is_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Above 5,000 inputs an even sample is counted, and the output says so."""
    settings = load_settings(CONFIG.format(url="http://127.0.0.1:9"))
    monkeypatch.chdir(tmp_path)
    found = estimate(str(_source(tmp_path, 6000)), settings, None, fresh=False)
    assert _counts(found)["one"] == (6000, 0)
    show_estimate(found, settings)
    assert "even sample of 2,000 inputs" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["inputs.jsonl"]


def test_with_and_without_batch_stand_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half the cost in a column of its own, and what becomes of the time."""
    text = CONFIG.format(url="http://127.0.0.1:9").replace("quota", "batch = true\nquota")
    settings = load_settings(text + "[batch]\nmin_calls = 50\n")
    monkeypatch.chdir(tmp_path)
    found = estimate(str(_source(tmp_path, 60)), settings, None, fresh=False)
    assert set(found.batched) == {"check-1", "check-2", "review-1"}
    assert found.seconds > found.seconds_beside == 0
    show_estimate(found, settings)
    said = capsys.readouterr().out
    online, batch = map(float, re.findall(r"one\b.*?\$([\d.]+).*?\$([\d.]+)", said)[0])
    assert online > 0
    assert batch == pytest.approx(online / 2, abs=0.01)
    assert "by batch: 240 calls in two rounds" in " ".join(said.split())


def test_canaries_are_counted_and_always_asked(tmp_path: Path) -> None:
    """Twelve more inputs for each check, apart from those of the source."""
    file = Path(__file__).parents[3] / "data" / "samples" / "canaries.jsonl"
    text = CONFIG.format(url="http://127.0.0.1:1/v1").replace('"state"', f'"{tmp_path / "state"}"')
    settings = load_settings(f'{text}[canaries]\nfile = "{file}"\n')
    found = estimate(str(_source(tmp_path, 5)), settings, None, fresh=False)
    assert (found.loaded.inputs, found.loaded.canaries, found.sampled) == (5, 12, 17)
    assert _counts(found)["one"] == (17, 0)
