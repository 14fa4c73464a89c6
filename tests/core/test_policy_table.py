"""The thresholds as a user writes them."""

from __future__ import annotations

import pytest

from tasks.core.errors import ConfigError
from tasks.core.policy_settings import Policy
from tasks.core.settings import load_settings

POOL = """
mode = "check"
[app_ids.a]
key = "env:KEY_A"
base_url = "http://127.0.0.1:1/v1/"
quota = []
[[check]]
name = "one"
model = "m"
"""


def test_every_threshold_reaches_the_policy() -> None:
    """All three count in mode "check" too, without a [review] table."""
    text = f'{POOL}[policy]\nkeep_uncertain_score = 6\nmin_score = 3\nmin_severity = "high"\n'
    assert load_settings(text).policy == Policy(
        keep_uncertain_score=6, min_score=3, min_severity="high"
    )


def test_left_out_is_the_policy_s_own_default() -> None:
    """The table may be missing, and its defaults are the policy's."""
    assert load_settings(POOL).policy == Policy()


@pytest.mark.parametrize(
    "line",
    ["min_score = 11", 'min_severity = "worst"', "min_skore = 1", "min_scores = { bugs = 3 }"],
)
def test_wrong_thresholds_are_refused(line: str) -> None:
    """The message names table and key."""
    with pytest.raises(ConfigError, match=rf"policy\.{line.split(maxsplit=1)[0]}"):
        load_settings(f"{POOL}[policy]\n{line}\n")
