"""Providers by a model's name alone: all is reviewed or refused, a handful of requests is wasted."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.sandbox import Sandbox
from tests.benchmarks.providers import KEYS, MOST, REFUSED, SERVED, Refused, refuse, serve


@pytest.mark.parametrize(("profile", "model", "stream"), SERVED)
def test_a_model_is_served_by_its_name(
    sandbox: Sandbox, tmp_path: Path, profile: str, model: str, *, stream: bool
) -> None:
    """Six inputs are checked and reviewed in full; what was adapted is told, and nothing else."""
    done = serve(sandbox, tmp_path, profile, model, stream=stream)
    assert done.complete == 6
    assert done.wasted <= MOST, "for both keys together: what one was refused, the other knows"
    assert len(done.adapted) == bool(done.wasted)
    assert done.said == []


@pytest.mark.parametrize(("profile", "refused"), REFUSED, ids=lambda one: getattr(one, "what", one))
def test_what_is_always_refused_costs_a_handful(
    sandbox: Sandbox, tmp_path: Path, profile: str, refused: Refused
) -> None:
    """100 inputs: no more than five requests a key, and the provider's sentence is what one reads."""
    done = refuse(sandbox, tmp_path, profile, refused, inputs=100)
    assert done.complete == 0
    assert done.requests <= MOST * len(KEYS)
    assert all("HTTP 4" in sentence for sentence in done.said)
    assert done.said
