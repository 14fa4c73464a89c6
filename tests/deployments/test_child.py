"""A server as a child: one that does not come up is waited for only so long, and does not stay behind."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from deployments.child import child_server
from tasks.core.errors import ConfigError


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("tests.deployments.silent_child", "it did not start: it is too slow"),
        ("tests.deployments.no_such_child", "it did not start: it ended at once"),
    ],
)
def test_a_child_that_says_nothing_is_an_error_and_gone(
    module: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for its address has an end, and with it the process."""
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def popen(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(real(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    seconds = 0.5 if "slow" in told else 30.0
    with pytest.raises(ConfigError, match=told), child_server(module, {}, "it", seconds):
        pass
    assert [process.poll() is None for process in started] == [False]
