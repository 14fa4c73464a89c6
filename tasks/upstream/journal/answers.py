"""
The journal as the endpoints of a run see it: a reply answers for the provider that gave it.

    question    Request.key: claimed while it is asked, whoever answers
    answer      question and provider (AppId.answers_as): what a reply is stored under

A question is answered when any provider that serves its model in this run has answered it. Replies
from before keys had a provider are under the question alone, with their endpoint beside them: they
are taken when that is an endpoint of today, and are as if not there when it is another. Others were
stored under the question with the simpler response_format that the endpoint took: they count, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from tasks.core.calls import Reply, Request
from tasks.core.quotas import AppId, place_of
from tasks.upstream.journal.journal import Journal

__all__ = ["Answers"]

_JSON = {"type": "json_object"}


class Answers:
    """Answers of the providers behind some app_ids. Thread-safe."""

    def __init__(self, journal: Journal, app_ids: Sequence[AppId]) -> None:
        self.journal = journal
        self._app_ids = tuple(app_ids)
        self._providers = {app_id.alias: app_id.answers_as for app_id in app_ids}
        self._serving: dict[str, tuple[str, ...]] = {}
        """Providers by model."""

    def get(self, request: Request, *, not_before: float | None = None) -> Reply | None:
        """The stored answer, or None; one stored before `not_before` is as if it were not there."""
        levels = [(one, self._keys(request.model, one)) for one in _questions(request)]
        wanted = chain.from_iterable([*keys, question] for question, keys in levels)
        found = self.journal.get_many(list(wanted), not_before=not_before)
        for question, keys in levels:
            own = next((found[key] for key in keys if key in found), None)
            old = found.get(question)
            if own is None and old is not None and self._serves(request.model, old.endpoint):
                own = old
            if own is not None:
                return own
        return None

    def put(self, request: Request, reply: Reply) -> None:
        """Store the answer of the app_id that gave it; returns when it is durable."""
        self.put_all({request.key: reply})

    def put_all(self, replies: Mapping[str, Reply]) -> None:
        """Store several answers, by the keys of their questions; returns when all are durable."""
        self.journal.put_many(
            {
                _answer_key(question, self._providers[reply.app_id]): reply
                for question, reply in replies.items()
            }
        )

    def forget(self, request: Request) -> None:
        """Remove every answer of today's providers, so that the question is asked again."""
        for question in _questions(request):
            for key in (*self._keys(request.model, question), question):
                self.journal.forget(key)

    def _keys(self, model: str, question: str) -> list[str]:
        serving = self._serving.get(model)
        if serving is None:
            found = (self._providers[one.alias] for one in self._app_ids if one.serves(model))
            serving = self._serving[model] = tuple(dict.fromkeys(found))
        return [_answer_key(question, provider) for provider in serving]

    def _serves(self, model: str, endpoint: str) -> bool:
        place = place_of(endpoint)
        return any(one.serves(model) and place_of(one.base_url) == place for one in self._app_ids)


def _questions(request: Request) -> Iterator[str]:
    """The request's key, and those as it was sent where its response_format is refused."""
    yield request.key
    asked = request.params.get("response_format")
    if asked is None:
        return
    bare = {name: value for name, value in request.params.items() if name != "response_format"}
    if asked != _JSON:
        yield request.key_with({**bare, "response_format": _JSON})
    yield request.key_with(bare)


def _answer_key(question: str, provider: str) -> str:
    return hashlib.sha256(f"{question}\n{provider}".encode()).hexdigest()
