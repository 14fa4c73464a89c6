"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deployments.sandbox import Sandbox, start_sandbox


@pytest.fixture(scope="session")
def sandbox_server() -> Iterator[Sandbox]:
    """One real sandbox process for the whole session."""
    with start_sandbox() as server:
        yield server


@pytest.fixture
def sandbox(sandbox_server: Sandbox) -> Sandbox:
    """The session's sandbox, back at its defaults: any key, no quota, no faults, no latency."""
    sandbox_server.reset()
    return sandbox_server
