"""What a row says of replies that went different ways."""

from __future__ import annotations

import pytest

from tasks.core.calls import Reply, TokenCount, Usage
from tasks.core.check_settings import CheckSettings
from tasks.core.errors import CallFailed
from tasks.core.prices import Price
from tasks.infer.call_rows import failed_row, reply_row
from tasks.infer.query import Query

PRICE = Price(input=1.0, output=2.0)
QUERY = Query(
    input_id="i",
    stage="check",
    name="one",
    part=0,
    messages=(),
    prompt_version="p",
    settings=CheckSettings(name="one", model="m"),
    counted=TokenCount(10, exact=True),
)


def reply(via: str, **fields: object) -> Reply:
    """A reply of 1 M tokens in and out: three dollars online."""
    given = {"batch_id": "batch_1" if via == "batch" else None} | fields
    return Reply(
        content="{}",
        model="m",
        finish_reason="stop",
        usage=Usage(1_000_000, 1_000_000, 2_000_000),
        request_id=None,
        created=1.0,
        app_id="a",
        trace_id=f"t-{via}",
        endpoint="http://x.test/v1",
        latency=1.0,
        queue=0.0,
        via=via,  # type: ignore[arg-type]
        **given,  # type: ignore[arg-type]
    )


def test_each_reply_costs_what_its_way_costs() -> None:
    """A batch's reply that could not be read and its question asked online again: half, and whole."""
    row = reply_row(QUERY, reply("batch"), PRICE)
    assert (row.via, row.batch_id, row.cost_usd) == ("batch", "batch_1", pytest.approx(1.5))
    again = reply_row(QUERY, reply("online"), PRICE, reply("batch"))
    assert (again.via, again.batch_id, again.cost_usd) == ("online", None, pytest.approx(4.5))
    assert again.input_tokens == 2_000_000
    assert reply_row(QUERY, reply("flex"), PRICE).cost_usd == pytest.approx(1.5)
    before = reply_row(QUERY, reply("online"), PRICE, reply("batch", journaled=True))
    assert before.cost_usd == pytest.approx(3.0)


def test_a_failure_says_where_it_failed() -> None:
    """In a batch, online, or nowhere; the reply before it was paid by batch."""
    refused = failed_row(QUERY, CallFailed("no", attempts=1, batch_id="batch_1"))
    assert (refused.via, refused.batch_id) == ("batch", "batch_1")
    assert failed_row(QUERY, CallFailed("no", attempts=2)).via == "online"
    assert failed_row(QUERY, CallFailed("no")).via is None
    second = failed_row(QUERY, CallFailed("no", attempts=1), PRICE, reply("batch"))
    assert second.cost_usd == pytest.approx(1.5)
