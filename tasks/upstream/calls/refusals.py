"""
What a refusal is about, by the first of the rules that fits its status, code and words.

Pure: no clock but `now`, no network. The sentence comes from the server and is not scrubbed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.upstream.calls.refusal_body import Said, read_body
from tasks.upstream.calls.refusal_rules import RULES, About, Rule
from tasks.upstream.waits import reset_said, retry_after_said, wait_in_text

__all__ = ["Refusal", "classify"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusal, understood."""

    about: About
    wait: float | None
    """Seconds that the server asks us to wait, for money, wait and try_again."""
    parameter: str | None
    """For parameter and format: which one is named; `messages.role` is the role system."""
    sentence: str
    """The provider's own words in one line of at most 500 characters, else its code, else nothing."""
    code: str | None
    """The provider's code or type, as it writes it."""
    certain: bool
    """A code or words say so. False: only the status does, so nothing but this call may suffer."""
    status: int
    """HTTP's, or the one that an error inside a 200 names; 200 where it names none."""
    of_model: bool = False
    """The model is named, or a quota of its own: other models may be served on the key."""


_NO_CAUSE = Rule("endpoint")
_OF_MODEL = re.compile(r"\w*(?:per|by)[-_ ]?model")  # GitHub: UserByModelByDay
_HOLDS = frozenset({"money", "wait", "try_again"})


def classify(
    status: int, headers: Mapping[str, str], body: Any, *, model: str, now: float
) -> Refusal:
    """The refusal in one failed response; never raises, whatever the server sent.

    `body` is bytes, text or parsed JSON, whole or what the openai client takes out of `error`;
    `model` the name that we asked for; `now` seconds since the epoch.
    """
    said = read_body(body, now)
    if status == 200:  # noqa: PLR2004  (an error inside a 200 may name its status)
        status = said.status or status
    told = _told(headers, said, now)
    rule = next((row for row in RULES if _fits(row, status, said, told, model)), _NO_CAUSE)
    named = said.parameter if rule.about in {"parameter", "format"} else None
    return Refusal(
        about=rule.about,
        wait=_wait(rule.about, told, headers, said, now),
        parameter="response_format" if rule.about == "format" else named,
        sentence=said.sentence,
        code=said.code,
        certain=rule.certain,
        status=status,
        of_model=said.of_model or bool(_OF_MODEL.search(said.text)) or _names(said.text, model),
    )


def _fits(rule: Rule, status: int, said: Said, told: float | None, model: str) -> bool:
    if rule.page != said.page or (rule.on and status not in rule.on) or (rule.told and not told):
        return False
    if not (rule.codes or rule.words or rule.names or rule.names_model):
        return True
    return bool(
        not rule.codes.isdisjoint(said.codes)
        or (rule.words and rule.words.search(said.text))
        or (rule.names and said.parameter and _is_named(rule.names, said.parameter, model))
        or (rule.names_model and _names(said.text, model))
    )


def _is_named(names: str, parameter: str, model: str) -> bool:
    return names == parameter or (names == "*" and parameter not in {"model", model.lower()})


def _names(text: str, model: str) -> bool:
    return bool(model) and bool(re.search(rf"(?<![\w.-]){re.escape(model.lower())}(?![\w-])", text))


def _told(headers: Mapping[str, str], said: Said, now: float) -> float | None:
    after = retry_after_said(headers, now)
    if after is None:
        after = max(said.waits, default=None)
    return wait_in_text(said.text, now) if after is None else after


def _wait(
    about: About, told: float | None, headers: Mapping[str, str], said: Said, now: float
) -> float | None:
    if about not in _HOLDS:
        return None
    return reset_said({**said.headers, **headers}, now) if told is None else told
