"""
Our own token counts: by the model's encoding where it is at hand, else by a stand-in that says so.

A chat prompt is counted as OpenAI documents for its chat models: 3 tokens around each message, the
role and the content, 1 for a name, and 3 that open the answer. Not in the count, because no
encoding knows them: a response_format's schema, and what a server's chat template adds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import tiktoken

from tasks.core.calls import TokenCount
from tasks.review.inputs.encodings import encoder_for

__all__ = ["count_tokens", "estimate_tokens"]

Countable = str | Sequence[Mapping[str, str]]

CHARS_PER_TOKEN = 3.5
_PER_MESSAGE = 3
_PER_NAME = 1
_ANSWER_OPENS = 3
# tiktoken's pattern overflows its stack on a run of about a million blanks; 100,000 are safe.
_CHUNK = 100_000


def count_tokens(content: Countable, model: str) -> TokenCount:
    """Tokens of a text, or of chat messages with their overhead, as `model` would count them.

    `exact` is False when the encoding is a stand-in, or a text had to be cut inside a word.
    Takes any text: special tokens are counted as text, lone surrogates as replacement characters.
    """
    if isinstance(content, str):
        return _count(content, model)
    parts = [_count(text, model) for message in content for text in message.values()]
    names = sum("name" in message for message in content)
    overhead = _PER_MESSAGE * len(content) + _PER_NAME * names + _ANSWER_OPENS
    return TokenCount(overhead + sum(part.tokens for part in parts), _all_exact(parts, model))


def estimate_tokens(text: str) -> int:
    """A cheap guess, characters / 3.5 rounded up: good for balancing shards, not for a bill."""
    return math.ceil(len(text) / CHARS_PER_TOKEN)


def _count(text: str, model: str) -> TokenCount:
    encoding, exact = encoder_for(model)
    tokens, whole = _encoded(text, encoding)
    return TokenCount(tokens, exact and whole)


@lru_cache(maxsize=128)
def _encoded(text: str, encoding: tiktoken.Encoding) -> TokenCount:
    # The rules open every prompt of a stage, and the checks of an input ask the same question.
    pieces = [(len(encoding.encode_ordinary(piece)), whole) for piece, whole in _chunks(text)]
    return TokenCount(sum(count for count, _ in pieces), all(whole for _, whole in pieces))


def _all_exact(parts: Sequence[TokenCount], model: str) -> bool:
    return encoder_for(model).exact and all(part.exact for part in parts)


def _chunks(text: str) -> Iterator[tuple[str, bool]]:
    """Pieces of bounded length, each with whether it ends where the encodings end a word too.

    They do after a line break, unless a blank line follows, and at the end of the text.
    """
    start = 0
    while len(text) - start > _CHUNK:
        end = text.rfind("\n", start, start + _CHUNK) + 1 or start + _CHUNK
        yield text[start:end], text[end - 1] == "\n" and not _blank_line(text, end)
        start = end
    yield text[start:], True


def _blank_line(text: str, start: int) -> bool:
    end = text.find("\n", start, start + _CHUNK)
    return text[start : end if end >= 0 else start + _CHUNK].isspace() or end == start
