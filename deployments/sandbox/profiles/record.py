"""A provider as a record: what it takes, how it refuses, what its headers and replies look like."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from deployments.sandbox.limits import LimitHeaders
from deployments.sandbox.prompt import Prompt
from deployments.sandbox.wire import SandboxRefusal, Style, openai_error
from tasks.core.quotas import Window

__all__ = ["ChatRoute", "Profile", "RefusalRule", "Traits", "by_about", "flat_error"]


_FACTS: Mapping[str, Any] = {
    "model": "",
    "wait": 1.0,
    "span": "1s",
    "limit": 1,
    "seconds": 60.0,
    "unit": "requests",
    "tokens": 0,
    "context": 0,
}


@dataclass(frozen=True, slots=True)
class ChatRoute:
    """One path of chat requests; `{model}` in it is the model's name."""

    path: str
    key_headers: tuple[str, ...] = ("authorization",)
    query: tuple[str, ...] = ()
    """Parameters without which the path is not found."""

    def matches(self, path: str, query: Iterable[str]) -> re.Match[str] | None:
        """The match of a request's path; its group "model", if any, is the model."""
        if not set(self.query) <= set(query):
            return None
        pattern = re.escape(self.path).replace(re.escape("{model}"), "(?P<model>[^/]+)")
        return re.fullmatch(pattern, path)


@dataclass(frozen=True, slots=True)
class RefusalRule:
    """Requests that are refused, and how. The message may name {value}, what was sent, {model}."""

    param: str
    refusal: SandboxRefusal
    refused: Callable[[Prompt], bool] | None = None
    """Left out: whenever the parameter is sent."""

    def check(self, prompt: Prompt, model: str) -> SandboxRefusal | None:
        """The refusal of this request, if the rule is about it."""
        value = prompt.body.get(self.param)
        if value is None if self.refused is None else not self.refused(prompt):
            return None
        message = self.refusal.message.format(value=value, model=model, param=self.param)
        return replace(self.refusal, message=message)


@dataclass(frozen=True, slots=True)
class Traits:
    """What one model of a provider does otherwise."""

    rules: tuple[RefusalRule, ...] = ()
    response_format: Literal["json_schema", "json_object", "none"] = "json_schema"
    """The most it accepts; more is refused."""
    context_tokens: int | None = None
    reasons: bool = False
    """It thinks before it answers, which takes tokens of the reply's budget."""
    parts: bool = False
    """Its content is a list of parts."""
    mute: bool = False
    """With a reply format its whole answer is in the thoughts, and the content is null."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One provider."""

    name: str
    base: str
    """What a client's base_url ends in."""
    routes: tuple[ChatRoute, ...]
    models: Mapping[str, Traits] = field(default_factory=dict)
    """The names it knows; every other one is refused, unless the table of models has it."""
    strict: bool = True
    """False: every name is a model."""
    traits: Traits = field(default_factory=Traits)
    """Of a model that is only in the table."""
    keyless: bool = False
    """A request without a key is served."""
    accepted: frozenset[str] | None = None
    """Parameters it knows; None: those it does not know are ignored."""
    unknown: Callable[[str, Any], SandboxRefusal] | None = None
    """The refusal of a parameter that is not among them, by its name and value."""
    rules: tuple[RefusalRule, ...] = ()
    """For all its models."""
    refusals: Mapping[str, SandboxRefusal] = field(default_factory=dict)
    """Its own wording of what the sandbox refuses, by what that is about."""
    shape: Callable[[SandboxRefusal], Any] = openai_error
    """The body of a refusal; a str is sent as plain text."""
    error_chunk: Callable[[Any], Any] = lambda error: error
    """An error body as an event in the middle of a stream."""
    done_after_error: bool = False
    """Whether [DONE] follows it."""
    refusal_headers: Callable[[SandboxRefusal], dict[str, str]] = lambda _: {}
    retry_after: tuple[str, ...] = ()
    """Forms of Retry-After that it sends: "seconds", "ms", "date"."""
    limits: LimitHeaders | None = None
    """Its rate-limit headers, on every reply; None: it has none."""
    quota: tuple[Window, ...] = ()
    """What a key without a quota of its own may send."""
    shared_quota: bool = False
    """One quota for all keys."""
    style: Style = field(default_factory=Style)
    shows_cache: bool = False
    format_ignored: bool = False
    """A reply format is taken and not obeyed: JSON comes in a Markdown fence."""
    prompt_alone: bool = False
    """context_tokens is about the prompt; what the reply may take is not counted."""
    cuts_prompt: bool = False
    """A prompt above context_tokens is cut without a word."""
    broken_end: str = "error"
    """finish_reason of a reply that the provider broke off."""
    batches: Literal["openai", "azure", "together"] | None = None
    """Whose files and batches it has; None: none."""
    choice_errors: bool = False
    """Whether an error object is beside the choice of such a reply."""

    def route(self, path: str, query: Iterable[str]) -> tuple[ChatRoute, str | None] | None:
        """The route of a path, and the model if the path names one."""
        for route in self.routes:
            match = route.matches(path, query)
            if match is not None:
                return route, match.groupdict().get("model")
        return None

    def refuse(self, prompt: Prompt, model: str, traits: Traits) -> SandboxRefusal | None:
        """What is wrong with the parameters of a request, first things first."""
        for name, value in prompt.body.items():
            if self.accepted is not None and self.unknown and name not in self.accepted:
                return self.unknown(name, value)
        rules = (*traits.rules, *self.rules)
        found = (rule.check(prompt, model) for rule in rules)
        return next((refusal for refusal in found if refusal is not None), None)

    def worded(self, refusal: SandboxRefusal) -> SandboxRefusal:
        """A refusal of the sandbox in this provider's words."""
        own = self.refusals.get(refusal.about)
        if own is None:
            return refusal
        facts = {**_FACTS, **refusal.facts}
        message = own.message.format_map(facts)
        return replace(own, message=message, wait=refusal.wait, about=refusal.about, facts=facts)


def by_about(**refusals: SandboxRefusal) -> Mapping[str, SandboxRefusal]:
    """A profile's table of refusals: what it is about -> how it is said."""
    return refusals


def flat_error(refusal: SandboxRefusal, code: object) -> dict[str, Any]:
    """An error without an object around it; of a refusal with further members these alone."""
    if refusal.more:
        return dict(refusal.more)
    return {
        "object": "error",
        "message": refusal.message,
        "type": refusal.kind,
        "param": refusal.param,
        "code": code,
    }
