"""The name of a question: what the journals of all versions know it by."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tasks.core.calls import Request

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
PARAMS = st.dictionaries(st.text(max_size=8), VALUES, max_size=4)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "user"]),
            "content": st.text() | st.text(st.characters(max_codepoint=0x7F)) | st.just("a\ud800"),
        }
    ),
    max_size=3,
).map(tuple)


def _as_of_old(request: Request) -> str:
    """The key by its definition, in one piece."""
    body = [request.model, request.messages, request.params, request.prompt_version]
    text = json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@given(st.text(max_size=5), MESSAGES, PARAMS, PARAMS, st.text(max_size=5))
def test_a_key_is_that_of_its_definition(
    model: str,
    messages: tuple[dict[str, str], ...],
    params: dict[str, Any],
    others: dict[str, Any],
    version: str,
) -> None:
    """Whether asked for at once, again, or with other parameters: a journal is of use for years."""
    request = Request(model, messages, params, version)
    other = Request(model, messages, others, version)

    assert request.key == request.key == _as_of_old(request)
    assert request.key_with(others) == other.key == _as_of_old(other)


def test_parameters_that_only_look_alike_are_told_apart() -> None:
    """True and 1, 1 and 1.0, None and NaN, 1e16 as an int and as a float."""
    values: list[Any] = [True, 1, 1.0, None, float("nan"), "null", 10**16, 1e16, "1"]
    keys = {Request("m", (), {"value": value}).key for value in values}

    assert len(keys) == len(values)
