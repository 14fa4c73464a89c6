"""No text keeps a key, however the server wraps it."""

from __future__ import annotations

import io
import json
import logging
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from tasks.upstream.calls.scrub import Scrubber, ScrubFilter, protect_logs

KEY = "team/key+0123456789-abcdef="
scrub = Scrubber([SecretStr(KEY), SecretStr("short")])


@pytest.mark.parametrize(
    "text",
    [
        f"Incorrect API key provided: {KEY}.",
        f"cut off: {KEY[:20]}",
        f"in a url: ?key={quote(KEY, safe='')}",
        f'{{"key": "{KEY}"}}',
        f"Authorization: Bearer {KEY}",
    ],
)
def test_known_keys_go(text: str) -> None:
    """Whole, cut off, quoted and in a header."""
    assert "0123456789" not in scrub(text)
    assert "***" in scrub(text)


@pytest.mark.parametrize(
    "text", ["Bearer abcdefghijklmnop", "sk-proj-AbCd1234efgh", "key sk-ab***********wxyz is wrong"]
)
def test_unknown_keys_go_by_their_shape(text: str) -> None:
    """Tokens and keys that nobody told us of."""
    assert "***" in Scrubber()(text)
    assert not any(part in Scrubber()(text) for part in ("abcdefghijkl", "AbCd1234", "wxyz"))


def test_ordinary_words_stay() -> None:
    """Messages about keys and tokens keep their sense."""
    text = "The bearer token is missing; risk-free task-key in a disk-backed cache"
    assert scrub(text).endswith("risk-free task-key in a disk-backed cache")


def test_a_reply_loses_known_keys_alone() -> None:
    """Whole, quoted or cut in half, within JSON that stays whole; words of code stay as they are."""
    found = f'{{"a": "{KEY}\\n", "b": "{quote(KEY, safe="")}", "c": "{KEY[:20]}..", "d": "short"}}'

    assert json.loads(scrub.known(found)) == {"a": "***\n", "b": "***", "c": "***", "d": "short"}
    assert scrub.known("team/key is key-value-store, sk-abcdefghijkl") == (
        "team/key is key-value-store, sk-abcdefghijkl"
    )


@given(st.text(), st.text(), st.integers(1, 60))
def test_no_cut_leaves_half_a_key(before: str, after: str, limit: int) -> None:
    """Masked first, cut afterwards; never longer than the limit."""
    clean = scrub(f"{before} {KEY} {after}", limit)
    assert len(clean) <= limit
    assert KEY[:12] not in clean


def test_repr_shows_no_key() -> None:
    """A scrubber in a traceback or debugger tells its size only."""
    assert repr(scrub) == "Scrubber(2 keys)"


def test_logs_are_scrubbed_with_arguments_and_tracebacks() -> None:
    """Arguments, exceptions and their causes; a record with a broken format is still written."""
    stream = io.StringIO()
    logger = logging.getLogger("tests.scrub")
    logger.propagate = False
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    protect_logs(scrub)
    protect_logs(scrub)
    assert sum(isinstance(known, ScrubFilter) for known in handler.filters) == 1
    logger.warning("key %s and %d", KEY, 5)
    logger.handle(logger.makeRecord("x", logging.WARNING, "", 0, f"broken %d {KEY}", ("x",), None))
    try:
        int(KEY)
    except ValueError:
        logger.exception("failed")
    logger.removeHandler(handler)
    text = stream.getvalue()
    assert "0123456789" not in text
    assert "key *** and 5" in text
    assert "broken %d ***" in text
    assert "ValueError: invalid literal" in text
    assert "Traceback" in text


def test_a_second_run_of_a_process_is_protected_too() -> None:
    """The keys of every run are masked, not only those of the first; an id forges no line."""
    stream = io.StringIO()
    logger = logging.getLogger("tests.scrub.second")
    logger.propagate = False
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    second = "second-run-planted-key-41c7"
    protect_logs(scrub)
    protect_logs(Scrubber([SecretStr(second)]))
    logger.warning("%s and %s in %s", KEY, second, "id\nERROR forged\x1b[2K")
    logger.removeHandler(handler)
    assert stream.getvalue() == "*** and *** in id\n    ERROR forged\\x1b[2K\n"
