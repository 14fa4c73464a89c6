"""
What an endpoint refuses in our requests to a model, and how they are sent instead.

    refusal names      first            then           then
    max_tokens         the value it     the other      left out
                       allows, if said  name
    messages.role      developer, if    folded into the first user message
                       it asks so
    response_format    json_object      none
    enable_thinking    what it must be  left out
    any other          left out

One `Adaptation` belongs to one endpoint and model: `adapt` learns one change from one refusal, so
that every refused request is sent again at most once per change. Pure; a record is plain JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from tasks.core.text_safety import visible
from tasks.upstream.calls.refusals import Refusal

__all__ = ["Adaptation", "ReplyFormat", "SystemRole", "adapt", "read_adaptation"]

SystemRole = Literal["system", "developer", "user"]
ReplyFormat = Literal["json_schema", "json_object", "text"]
Scalar = bool | int

_ROLES: tuple[SystemRole, ...] = ("system", "developer", "user")
_FORMATS: tuple[ReplyFormat, ...] = ("json_schema", "json_object", "text")
_OTHER = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_LIMIT_NAMES = frozenset({*_OTHER, "max_output_tokens"})
_NEEDED = frozenset({"model", "messages"})
_NO_ROOM = 256  # tokens; a reply that short is of no use, so the limit is left out instead
_MUST_BE = re.compile(r"(?:must|should|restricted|only)\b.{0,30}\b(true|false)\b")
_TOO_LARGE = re.compile(r"too large|at most|range|maximum|between|exceed|must lie|less than|<=|>")
_NUMBER = re.compile(r"(?<![\d.])\d{1,9}(?![\d.]*\d)")
_READ = frozenset({400, 422})  # statuses of a request that was read and refused


@dataclass(frozen=True, slots=True)
class Adaptation:
    """How requests to one model at one endpoint differ from ours. The empty one changes nothing."""

    omit: frozenset[str] = frozenset()
    rename: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Scalar] = field(default_factory=dict)
    """Parameters that must have this value, by the name they are sent under."""
    role: SystemRole = "system"
    """The role in which the system prompt is sent; user: folded into the first user message."""
    reply_format: ReplyFormat = "json_schema"
    """The most that may be asked of the reply's format."""

    def apply(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a request as this endpoint takes it; the given one is left as it is."""
        sent = {self.rename.get(name, name): value for name, value in body.items()}
        sent |= {name: value for name, value in self.values.items() if self._sets(name, sent)}
        sent = {name: value for name, value in sent.items() if name not in self.omit}
        if "response_format" in sent:
            sent |= _format(sent.pop("response_format"), self.reply_format)
        if isinstance(sent.get("messages"), Sequence) and self.role != "system":
            sent["messages"] = _with_role(sent["messages"], self.role)
        return sent

    def merge(self, other: Adaptation) -> Adaptation:
        """Both together, as when two shards learnt different changes."""
        return Adaptation(
            omit=self.omit | other.omit,
            rename={**self.rename, **other.rename},
            values={**self.values, **_lower(self.values, other.values)},
            role=max(self.role, other.role, key=_ROLES.index),
            reply_format=max(self.reply_format, other.reply_format, key=_FORMATS.index),
        )

    def describe(self) -> str:
        """One sentence for the log and the report; empty where nothing is adapted."""
        changes = [f"{old} sent as {new}" for old, new in sorted(self.rename.items())]
        changes += [f"{name} set to {_spelled(v)}" for name, v in sorted(self.values.items())]
        changes += [f"{name} left out" for name in sorted(self.omit)]
        if self.role != "system":
            place = "in the first user message" if self.role == "user" else "in the role developer"
            changes.append(f"the system prompt sent {place}")
        if self.reply_format != "json_schema":
            level = "left out" if self.reply_format == "text" else f"lowered to {self.reply_format}"
            changes.append(f"response_format {level}")
        them = "it" if len(changes) == 1 else "them"
        said = visible(", ".join(changes))  # a name may be the endpoint's word
        return f"{said}: the endpoint refuses {them}" if changes else ""

    def record(self) -> dict[str, Any]:
        """Plain JSON with sorted names, without what is not adapted; the empty one is `{}`."""
        full = {
            "omit": sorted(self.omit),
            "rename": dict(sorted(self.rename.items())),
            "values": dict(sorted(self.values.items())),
            "role": "" if self.role == "system" else self.role,
            "reply_format": "" if self.reply_format == "json_schema" else self.reply_format,
        }
        return {name: value for name, value in full.items() if value}

    def __bool__(self) -> bool:
        return bool(self.record())

    def _sets(self, name: str, sent: Mapping[str, Any]) -> bool:
        value = self.values[name]
        if name not in sent:
            return isinstance(value, bool)  # a switch that is on unless it is sent
        ours = sent[name]
        return isinstance(value, bool) or not isinstance(ours, int) or value < ours


def read_adaptation(record: Any) -> Adaptation:
    """What `record` wrote. Parts that are none are left out: they are learnt again by one call."""
    if not isinstance(record, dict):
        return Adaptation()
    omit, rename, values = (record.get(name) for name in ("omit", "rename", "values"))
    role, reply_format = record.get("role"), record.get("reply_format")
    return Adaptation(
        omit=frozenset(name for name in omit if isinstance(name, str) and name not in _NEEDED)
        if isinstance(omit, list)
        else frozenset(),
        rename={old: new for old, new in rename.items() if _OTHER.get(old) == new}
        if isinstance(rename, dict)
        else {},
        values={str(name): value for name, value in values.items() if isinstance(value, int)}
        if isinstance(values, dict)
        else {},
        role=cast("SystemRole", role) if role in _ROLES else "system",
        reply_format=cast("ReplyFormat", reply_format)
        if reply_format in _FORMATS
        else "json_schema",
    )


def adapt(
    sent: Mapping[str, Any], refusal: Refusal, known: Adaptation | None = None
) -> Adaptation | None:
    """`known` and the one change that the refusal of the body `sent` asks for; None: there is none.

    `sent` is the body that was refused, with `known` applied. A 400 or 422 in unknown words that
    names nothing lowers the response_format: the caller does that only while no request with that
    format has succeeded there.
    """
    known = known or Adaptation()
    name = refusal.parameter or ""
    unknown = refusal.about == "input" and not refusal.certain and refusal.status in _READ
    if refusal.about == "format" or unknown:
        return _lower_format(sent, known)
    if refusal.about != "parameter" or name in _NEEDED:
        return None
    if name == "messages.role":
        return _change_role(sent, refusal, known)
    if name in _LIMIT_NAMES:
        return _change_limit(sent, refusal, known)
    return _set_switch(name, sent, refusal, known) or _leave_out(name, sent, known)


def _lower_format(sent: Mapping[str, Any], known: Adaptation) -> Adaptation | None:
    asked = sent.get("response_format")
    if asked is None:
        return None
    kind = asked.get("type") if isinstance(asked, Mapping) else None
    return replace(known, reply_format="json_object" if kind == "json_schema" else "text")


def _change_role(sent: Mapping[str, Any], refusal: Refusal, known: Adaptation) -> Adaptation | None:
    roles = {message.get("role") for message in sent.get("messages", ())}
    if "system" in roles and re.search(r"\buse\b.{0,20}developer", refusal.sentence.lower()):
        return replace(known, role="developer")
    return replace(known, role="user") if roles & {"system", "developer"} else None


def _change_limit(
    sent: Mapping[str, Any], refusal: Refusal, known: Adaptation
) -> Adaptation | None:
    name = next((name for name in _OTHER if name in sent), None)
    if name is None:
        return None
    allowed = _allowed(refusal.sentence, sent[name])
    if allowed is not None:
        return replace(known, values={**known.values, name: allowed})
    if known.rename or _TOO_LARGE.search(refusal.sentence.lower()):
        return _leave_out(name, sent, known)
    values = {_OTHER[name] if old == name else old: v for old, v in known.values.items()}
    return replace(known, rename={name: _OTHER[name]}, values=values)


def _set_switch(
    name: str, sent: Mapping[str, Any], refusal: Refusal, known: Adaptation
) -> Adaptation | None:
    wanted = _MUST_BE.search(refusal.sentence.lower())
    if not wanted or not (name in sent or name == "enable_thinking"):
        return None
    value = wanted[1] == "true"
    if sent.get(name) is value:
        return None
    return replace(known, values={**known.values, name: value})


def _leave_out(name: str, sent: Mapping[str, Any], known: Adaptation) -> Adaptation | None:
    if name not in sent:
        return None
    both = {name, "stream_options"} if name == "stream" else {name}  # the one is void without
    values = {old: value for old, value in known.values.items() if old not in both}
    return replace(known, omit=known.omit | both, values=values)


def _allowed(sentence: str, ours: Any) -> int | None:
    """The largest number of tokens below ours that a sentence about a limit names."""
    if not isinstance(ours, int) or not _TOO_LARGE.search(sentence.lower()):
        return None
    numbers = (int(number) for number in _NUMBER.findall(sentence.replace(",", "")))
    return max((number for number in numbers if _NO_ROOM <= number < ours), default=None)


def _format(asked: Any, most: ReplyFormat) -> dict[str, Any]:
    kind = asked.get("type") if isinstance(asked, Mapping) else None
    if most == "text":
        return {}
    lowered = {"type": most} if most != "json_schema" and kind == "json_schema" else asked
    return {"response_format": lowered}


def _with_role(messages: Sequence[Any], role: SystemRole) -> list[dict[str, Any]]:
    system = [dict(m) for m in messages if m.get("role") in {"system", "developer"}]
    others = [dict(m) for m in messages if m.get("role") not in {"system", "developer"}]
    if role != "user":
        return [{**message, "role": role} for message in system] + others
    texts = [message.get("content") for message in system if message.get("content")]
    first = next((message for message in others if message.get("role") == "user"), None)
    if first is None:
        return [{"role": "user", "content": text} for text in texts] + others
    first["content"] = _joined([*texts, first.get("content")])
    return others


def _joined(contents: Sequence[Any]) -> Any:
    if all(isinstance(content, str) for content in contents):
        return "\n\n".join(contents)
    parts: list[Any] = []
    for content in contents:
        parts += [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    return parts


def _lower(ours: Mapping[str, Scalar], theirs: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return {
        name: value if isinstance(value, bool) else min(value, ours.get(name, value))
        for name, value in theirs.items()
    }


def _spelled(value: Scalar) -> str:
    return str(value).lower()
