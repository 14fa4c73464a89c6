"""What doctor says of a Batch API that is there, and of one that is not."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from deployments.sandbox import Sandbox
from tasks.core.errors import ConfigError
from tasks.core.settings import load_settings
from tasks.doctor.batch_api import check_batch_api
from tasks.upstream.calls.key_ring import KeyRing

CONFIG = """
[app_ids.a]
key = "env:K"
base_url = "{url}"
quota = []
batch = true
[[check]]
name = "one"
model = "m"
[review]
model = "m"
"""


def test_a_batch_api_that_answers(sandbox: Sandbox) -> None:
    """Its list is looked at, nothing is made."""
    settings = load_settings(CONFIG.format(url=sandbox.base_url))
    ring = KeyRing.of({"a": SecretStr("sk-doctor-a")})
    assert check_batch_api(settings, "a", ring) == "a: its Batch API answers"
    assert sandbox.stats()["batches"]["calls"] == {"list": 1}


def test_one_that_does_not_answer(sandbox: Sandbox) -> None:
    """The provider's words, and what to do, without the key."""
    url = sandbox.base_url.removesuffix("/v1") + "/elsewhere"
    ring = KeyRing.of({"a": SecretStr("sk-doctor-a")})
    with pytest.raises(ConfigError, match="leave batch = true out") as caught:
        check_batch_api(load_settings(CONFIG.format(url=url)), "a", ring)
    assert "sk-doctor-a" not in str(caught.value)
