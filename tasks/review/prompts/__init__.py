"""
Prompts, from the .md files beside this module.

    system   the stage's rules and examples, the same for every input, then language and the team's
             rules, the same for every input that they cover: a beginning that providers cache, from
             1,024 tokens on, which rules and examples have together
    user     <<<INPUT tag ... INPUT tag>>>, then (review) the fenced comments, then the task

The models of a check get byte-identical messages. What comes from outside, code and comments, stands
inside a fence that it cannot close: the tag is a hash of what is fenced and does not occur in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import orjson

from tasks.core.records import Comment, Input, Stage
from tasks.core.text_safety import storable
from tasks.review.inputs.chat_tokens import defuse
from tasks.review.replies.contract import asked_names

__all__ = [
    "PROMPT_VERSION",
    "PromptForm",
    "check_messages",
    "context_block",
    "fenced",
    "language_block",
    "named",
    "prompt_version",
    "reask_messages",
    "review_messages",
    "rules_block",
]

Messages = tuple[dict[str, str], ...]


@dataclass(frozen=True, slots=True)
class PromptForm:
    """What the settings and the team's rules make of a stage's prompts for an input."""

    team: str = ""
    """The end of the system message: language and the team's rules."""
    short: bool = False
    """Without the examples."""


_PLAIN = PromptForm()
_MAX_TITLE = 300
_MAX_DESCRIPTION = 2_000
_MAX_EXCERPT = 2_000
_MAX_ERROR = 300
"""Characters of untrusted text around the code."""

_SHARED = ("data.md", "context.md", "language.md", "rules.md", "reask.md")
_STAGE_FILES: Mapping[Stage, tuple[str, ...]] = {
    "check": ("check.md", "check_task.md", "check_examples.md", *_SHARED),
    "review": ("review.md", "review_task.md", "review_examples.md", *_SHARED),
}
_NAMES = sorted({name for names in _STAGE_FILES.values() for name in names})
_FILE_TEXT = {name: files(__name__).joinpath(name).read_text("utf-8").strip() for name in _NAMES}
_SYSTEM = {
    stage: _FILE_TEXT[f"{stage}.md"].replace("{data}", _FILE_TEXT["data.md"])
    for stage in _STAGE_FILES
}


def _version(names: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\0{_FILE_TEXT[name]}\0".encode())
    return digest.hexdigest()


PROMPT_VERSION = _version(_NAMES)
"""sha256 over all prompt files."""

_VERSIONS = {stage: _version(names) for stage, names in _STAGE_FILES.items()}


@lru_cache(maxsize=1024)
def prompt_version(stage: Stage, form: PromptForm = _PLAIN) -> str:
    """Version of a stage's prompts: sha256 over its files, and over the form where it is not the plain one."""
    own = _VERSIONS[stage]
    text = f"{own}\0{form.short}\0{form.team}"
    return own if form == _PLAIN else hashlib.sha256(text.encode()).hexdigest()


def rules_block(rules: str) -> str:
    """The team's rules, fenced, with what they may say and what not."""
    return _FILE_TEXT["rules.md"].replace("{rules}", fenced("RULES", rules))


def context_block() -> str:
    """That only changed lines are under review, where more of a file is shown."""
    return _FILE_TEXT["context.md"]


def language_block(language: str | None) -> str:
    """In which language people are written to; empty: it is left open."""
    return _FILE_TEXT["language.md"].replace("{language}", language) if language else ""


def check_messages(source: Input, rendered: str, form: PromptForm = _PLAIN) -> Messages:
    """Messages that ask for comments on `rendered`: the input's lines with their gutter."""
    return _messages("check", _input_block(source, rendered), form)


def review_messages(
    source: Input, rendered: str, comments: Sequence[Comment], form: PromptForm = _PLAIN
) -> Messages:
    """Messages that ask for a verdict on each of `comments`.

    They are listed by place and by the names that `named` gives them, without who raised them, how
    sure that model was, or how many agree: a judge that knows the majority follows it.
    """
    shown = (_json(_shown(name, comment)) for name, comment in named(comments).items())
    body = "[" + ",\n".join(shown) + "]"
    blocks = f"{_input_block(source, rendered)}\n\n{fenced('COMMENTS', body)}"
    return _messages("review", blocks, form)


def named(comments: Sequence[Comment]) -> dict[str, Comment]:
    """The comments by the names that a question to the review model gives them: c1, c2, ... by place.

    A model copies two characters without a mistake, and not always sixteen.
    """
    listed = sorted(comments, key=lambda c: (c.path or "", c.start_line or 0, c.comment_id))
    return dict(zip(asked_names(len(listed)), listed, strict=True))


def reask_messages(
    messages: Sequence[Mapping[str, str]], bad_reply_excerpt: str, error: str
) -> Messages:
    """Messages of a question asked once more, with the reply and why it could not be used."""
    asked = tuple(dict(message) for message in messages)
    excerpt = _safe(bad_reply_excerpt[:_MAX_EXCERPT]).strip()
    # Some servers refuse an empty assistant turn.
    answered = ({"role": "assistant", "content": excerpt},) if excerpt else ()
    again = _FILE_TEXT["reask.md"].replace("{error}", " ".join(_safe(error)[:_MAX_ERROR].split()))
    return (*asked, *answered, {"role": "user", "content": again})


def fenced(name: str, body: str) -> str:
    """`body` between two lines that carry a tag which is not in it.

    The tag is 16 hex digits of the body's sha256, so it is the same for the same body and nobody
    can write it into the body beforehand; should it be there all the same, the next one is taken.
    """
    body = _safe(body)
    tag, turn = _tag(body, 0), 0
    while tag in body.lower():
        turn += 1
        tag = _tag(body, turn)
    return f"<<<{name} {tag}\n{body}\n{name} {tag}>>>"


def _tag(body: str, turn: int) -> str:
    return hashlib.sha256(f"{turn}\0{body}".encode()).hexdigest()[:16]


def _messages(stage: Stage, blocks: str, form: PromptForm) -> Messages:
    task = _FILE_TEXT[f"{stage}_task.md"]
    return (
        {"role": "system", "content": _system_text(stage, form)},
        {"role": "user", "content": f"{blocks}\n\n{task}"},
    )


@lru_cache(maxsize=64)
def _system_text(stage: Stage, form: PromptForm) -> str:
    """The same object for all inputs with the same rules: they are thousands, and it has 4 KB."""
    examples = "" if form.short else _FILE_TEXT[f"{stage}_examples.md"]
    return "\n\n".join(part for part in (_SYSTEM[stage], examples, form.team) if part)


def _input_block(source: Input, rendered: str) -> str:
    about = {
        "kind": source.kind,
        "path": source.path,
        "language": source.language,
        "title": source.title and source.title[:_MAX_TITLE],
        "description": source.description and source.description[:_MAX_DESCRIPTION],
    }
    # JSON keeps each of them on the one line, whatever it holds.
    code = rendered.removesuffix("\n")
    return fenced("INPUT", f"{_json(about)}\n{code}")


def _shown(name: str, comment: Comment) -> dict[str, object]:
    return {
        "comment_id": name,
        "path": comment.path,
        "side": comment.side if comment.side == "left" else None,
        "lines": [comment.start_line, comment.end_line] if comment.start_line else None,
        "category": comment.category,
        "severity": comment.severity,
        "title": comment.title,
        "message": comment.message,
        "rationale": comment.rationale,
        "existing_code": comment.existing_code,
        "suggestion": comment.suggestion,
    }


def _json(fields: Mapping[str, object]) -> str:
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        return orjson.dumps(given).decode()  # which makes the same of texts and numbers, but faster
    except TypeError:  # half of a surrogate pair
        return _encode(given)


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _safe(text: str) -> str:
    """Text that any server can take: no NUL, no lone surrogate, no chat marker."""
    return defuse(storable(text))
