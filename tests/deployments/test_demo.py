"""The demo without its model: its settings, what its linter finds in its samples, its last words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deployments import demo
from tasks.core.settings import Settings, load_settings
from tasks.infer.tool_checks import ToolChecks
from tasks.load.rows import read_input


@pytest.fixture
def settings() -> Settings:
    """The demo's own."""
    return load_settings(demo.CONFIG.format(base_url="http://127.0.0.1:1/v1", state="state"))


def _unexpected(*said: Any) -> None:
    pytest.fail(str(said))


def test_the_linter_finds_two_labelled_defects(settings: Settings) -> None:
    """In the demo's eight samples ruff finds what two of their labels say, and nothing else."""
    rows = demo.SAMPLES.read_text().splitlines()[: int(demo.LIMIT)]
    items = [read_input(json.loads(row)) for row in rows]
    checks = ToolChecks(settings, _unexpected, _unexpected)
    checks.run(items)
    (ruff,) = settings.tool_check
    found = {item.input_id: checks.answer(ruff, item).comments for item in items}
    titles = {name: [one.title for one in comments] for name, comments in found.items() if comments}
    assert [*titles] == ["py-group-events", "py-order-search"]
    assert [one[0].partition(":")[0] for one in titles.values()] == ["B006", "S608"]
    assert all(item.expected for item in items if item.input_id in titles)


def test_a_reply_of_no_use_is_within_what_the_demo_accepts(settings: Settings) -> None:
    """Two of its 24 cells may fail; and a verdict counts only with a line of the code."""
    assert settings.accept.failed_cells == "10%"
    assert settings.policy.require_evidence
    assert len(settings.check_names) + settings.reviews == 3


@pytest.mark.parametrize(("failed", "told"), [(0, False), (1, True)])
def test_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failed: int, told: bool
) -> None:
    """They say what the model is worth, the remedy of a failed reply, the report, and what is next."""
    monkeypatch.setattr(demo, "_ROOT", tmp_path)
    manifest = {"counts": {"cells": {"failed": failed}}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    text = "\n".join(demo._last_words(tmp_path))
    assert ("run `make demo` again" in text) is told
    assert sum("no reviewer" in line for line in text.splitlines()) == 1
    assert "report       report.html" in text
    assert len([line for line in text.splitlines() if line.startswith("  ")]) == 4
