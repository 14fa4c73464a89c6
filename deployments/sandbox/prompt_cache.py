"""Equal beginnings of prompts, counted as providers count them for prompt caching."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

__all__ = ["PromptCache"]

# https://platform.openai.com/docs/guides/prompt-caching: from 1,024 tokens on, in steps of 128
_LEAST = 1024
_STEP = 128
_CHARACTERS = 4  # a token, as the sandbox counts


@dataclass(slots=True)
class PromptCache:
    """Remembers the beginnings it has seen; the oldest are forgotten above `limit`."""

    limit: int = 200_000
    _seen: dict[bytes, None] = field(default_factory=dict)

    def cached(self, scope: str, text: str) -> int:
        """Tokens of the longest beginning seen before in this scope; remembers those of `text`."""
        digest = hashlib.blake2b(scope.encode("utf-8", "surrogatepass"), digest_size=16)
        done = found = 0
        whole = True
        for tokens in range(_LEAST, len(text) // _CHARACTERS + 1, _STEP):
            end = tokens * _CHARACTERS
            digest.update(text[done:end].encode("utf-8", "surrogatepass"))
            done = end
            mark = digest.digest()
            whole = whole and mark in self._seen
            found = tokens if whole else found
            self._seen.pop(mark, None)
            self._seen[mark] = None
        while len(self._seen) > self.limit:
            del self._seen[next(iter(self._seen))]
        return found
