"""What of a run may begin before its own Prefect server has come up."""

from __future__ import annotations

import pytest

from flows.setup.early_start import may_call_early, may_start_early
from tasks.core.settings import Settings, load_settings


def _settings(key: str = "env:K", quota: str = "[]", more: str = "", head: str = "") -> Settings:
    return load_settings(
        f'{head}mode = "check"\n[[check]]\nname = "one"\nmodel = "m"\n[app_ids.a]\nkey = "{key}"\n'
        f'base_url = "http://127.0.0.1:9/v1"\nquota = {quota}\n{more}'
    )


@pytest.mark.parametrize(
    ("settings", "start", "call"),
    [
        (_settings(), True, True),
        (_settings(key="file:/etc/key"), True, True),
        (_settings(quota='"3/60s"'), True, False),
        (_settings(more="batch = true\n"), True, False),
        (_settings(key="secret:a-block"), False, True),
        (_settings(more='headers = { X-Key = "secret:a-block" }\n'), False, True),
        (
            _settings(
                head='state = "postgresql://user@127.0.0.1/db"\n',
                more='[workers]\nscheduler = "tcp://127.0.0.1:8786"\n',
            ),
            False,
            True,
        ),
    ],
)
def test_what_may_begin(settings: Settings, *, start: bool, call: bool) -> None:
    """Blocks and workers need the server; numbers of quotas are the operator's, who told them there."""
    assert (may_start_early(settings), may_call_early(settings)) == (start, call)
