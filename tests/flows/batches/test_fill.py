"""When a run collects for batches at all, and with whose keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.batches.fill import _alone, _is_worth_it
from tasks.core.run import Run
from tasks.core.settings import load_settings
from tasks.upstream.batches.store import open_batches
from tests.flows.batches.test_display import BATCH

CONFIG = """
[app_ids.a]
key = "env:K"
base_url = "http://127.0.0.1:9/v1"
quota = []
batch = {batch}
[app_ids.b]
key = "env:ELSEWHERE"
base_url = "http://127.0.0.1:9/v1"
quota = []
[[check]]
name = "one"
model = "m"
[[check]]
name = "two"
model = "m"
[review]
model = "m"
[batch]
use = "{use}"
"""


def run_of(folder: Path, use: str = "auto", batch: str = "true", head: str = "") -> Run:
    """A run with that [batch]."""
    settings = load_settings(head + CONFIG.format(use=use, batch=batch))
    return Run("run-1", settings, str(folder / "state"), 2)


def test_a_run_without_batches_leaves_no_trace(tmp_path: Path) -> None:
    """No app_id with batch = true: nothing is collected, opened or made."""
    assert not _is_worth_it(run_of(tmp_path, batch="false"), 100_000)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(("use", "inputs", "worth"), [
    ("auto", 33, False), ("auto", 34, True), ("always", 1, True), ("never", 100_000, False),
])  # fmt: skip
def test_few_inputs_are_not_collected(
    tmp_path: Path, use: str, inputs: int, *, worth: bool
) -> None:
    """34 inputs of at most three parts and two checks could reach 200 questions, 33 cannot."""
    assert _is_worth_it(run_of(tmp_path, use), inputs) is worth


@pytest.mark.parametrize("use", ["auto", "never"])
def test_what_an_earlier_run_has_left_is_fetched(tmp_path: Path, use: str) -> None:
    """However few inputs there are, and also when nothing more is to go by batch."""
    run = run_of(tmp_path, use)
    with open_batches(run.batches) as store:
        store.plan(BATCH, {})
    assert _is_worth_it(run, 1)


def test_with_workers_only_keys_of_batches_are_needed_here(tmp_path: Path) -> None:
    """The others may be at the workers alone."""
    head = 'state = "postgresql://u@h/db"\n'
    workers = '[workers]\nscheduler = "tcp://host:8786"\n'
    run = run_of(tmp_path, head=head)
    settings = load_settings(head + CONFIG.format(use="auto", batch="true") + workers)
    assert set(_alone(run).settings.app_ids) == {"a", "b"}
    far = Run("run-1", settings, str(tmp_path), 2)
    assert set(_alone(far).settings.app_ids) == {"a"}
