"""Numbers of a reply that no table holds."""

from __future__ import annotations

import time

import orjson
import pytest

from tasks.core.calls import MAX_COUNT, Usage
from tasks.upstream.calls.completion import read_completion

_CHOICES = '[{"message": {"content": "{}"}, "finish_reason": "stop"}]'


@pytest.mark.parametrize(
    "number", [str(2**63), str(2**53), str(10**30), "1e300", "-1", "true", '"7"', "[]"]
)
def test_a_count_that_no_table_holds_is_unknown(number: str) -> None:
    """A reply with an impossible count of tokens or time keeps its text and loses the number."""
    body = (
        f'{{"choices": {_CHOICES}, "created": {number}, "usage": {{"prompt_tokens": {number},'
        f' "completion_tokens": 3, "completion_tokens_details": {{"reasoning_tokens": {number}}}}}}}'
    )
    orjson.loads(body)
    completion = read_completion(body.encode(), "application/json")

    assert completion.usage == Usage(completion_tokens=3)
    assert abs(completion.created - time.time()) < 1e11


def test_the_largest_count_is_kept() -> None:
    """The bound itself is a count."""
    body = f'{{"choices": {_CHOICES}, "usage": {{"prompt_tokens": {MAX_COUNT}}}}}'

    assert read_completion(body.encode(), "").usage == Usage(prompt_tokens=MAX_COUNT)


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 7}},
        {"prompt_tokens_details": {"cached_tokens": 5, "cache_creation_tokens": 7}},
        {"prompt_tokens_details": {"cached_tokens": 5}, "cache_creation_input_tokens": 7},
    ],
)
def test_tokens_that_were_put_into_a_cache(usage: dict[str, object]) -> None:
    """OpenAI and OpenRouter, LiteLLM, and what gateways pass on of Anthropic."""
    body = orjson.dumps({"choices": orjson.loads(_CHOICES), "usage": usage})
    assert read_completion(body, "").usage == Usage(cached_tokens=5, cache_write_tokens=7)
