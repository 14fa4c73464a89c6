"""
A reviewer without a model. Every answer is a function of the prompt, so reruns compare equal.

    default    0 to 3 comments that quote real lines of the prompt; verdicts of all three kinds
    silent     never a comment; confirms nothing
    scripted   what the table of answers says, for models of known skill
    obedient   as scripted, but where the code under review says to find nothing, nothing is found
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from deployments.sandbox.config import ModelSpec, SandboxConfig, ScriptedAnswer
from deployments.sandbox.prompt import Prompt, PromptLine
from tasks.core.records import CATEGORIES, SEVERITIES

__all__ = ["content_for"]

_DECISIONS = ("confirmed",) * 5 + ("rejected",) * 3 + ("uncertain",) * 2
_BY_TABLE = {"scripted", "obedient"}
_SCORES = {"confirmed": 8, "rejected": 1, "uncertain": 5}


def content_for(prompt: Prompt, model: str, spec: ModelSpec, config: SandboxConfig) -> str:
    """The content of a good answer to this prompt."""
    if spec.skill == "obedient" and prompt.is_told_to_be_silent:
        return _nothing(prompt)
    answer = _scripted(prompt, model, spec, config)
    if answer is not None and answer.content is not None:
        return answer.content
    if prompt.kind == "check":
        return _json({"comments": _comments(prompt, model, spec, answer)})
    if prompt.kind == "review":
        return _json({"verdicts": _verdicts(prompt, spec, answer)})
    return f"The sandbox has read {prompt.tokens} tokens and answers for {model}."


def _nothing(prompt: Prompt) -> str:
    """No comment, and no comment that holds."""
    if prompt.kind != "review":
        return _json({"comments": []})
    held = [
        _verdict(prompt, *one, ModelSpec(), {"decision": "rejected", "score": 0})
        for one in prompt.comments.items()
    ]
    return _json({"verdicts": held})


def _json(value: dict[str, Any]) -> str:
    return orjson.dumps(value).decode()


def _scripted(
    prompt: Prompt, model: str, spec: ModelSpec, config: SandboxConfig
) -> ScriptedAnswer | None:
    wanted = {"check": "comments", "review": "verdicts", "chat": "content"}[prompt.kind]
    for answer in config.answers:
        mine = spec.skill in _BY_TABLE if answer.model is None else answer.model == model
        useful = answer.content is not None or getattr(answer, wanted) is not None
        if mine and useful and answer.match in prompt.text:
            return answer
    return None


def _digest(*what: str) -> bytes:
    return hashlib.sha256("\x1f".join(what).encode("utf-8", "surrogatepass")).digest()


def _comments(
    prompt: Prompt, model: str, spec: ModelSpec, answer: ScriptedAnswer | None
) -> list[dict[str, Any]]:
    if answer is not None and answer.comments is not None:
        return [_comment(None, bytes(8)) | dict(given) for given in answer.comments]
    if spec.skill != "default" or not prompt.spots:
        return []
    dice = _digest(model, prompt.user)
    spots = {dice[i + 1] * 7 % len(prompt.spots): None for i in range(dice[0] % 4)}
    return [_comment(prompt.line(index), dice[i + 8 :]) for i, index in enumerate(spots)]


def _comment(line: PromptLine | None, dice: bytes) -> dict[str, Any]:
    quote = line.text.strip() if line else ""
    category = CATEGORIES[dice[0] % 5]
    return {
        "path": line.path if line else None,
        "existing_code": line.text if line else None,
        "start_line": line.number if line else None,
        "end_line": line.number if line else None,
        "category": category,
        "rationale": f"The line `{quote}` is reached with input that it does not expect.",
        "severity": SEVERITIES[dice[1] % 4],
        "confidence": round(0.5 + dice[2] % 50 / 100, 2),
        "title": f"Unexpected input in `{quote[:40]}`",
        "message": f"`{quote}` can fail ({category}). Guard the case before this line.",
        "suggestion": None,
    }


def _verdicts(
    prompt: Prompt, spec: ModelSpec, answer: ScriptedAnswer | None
) -> list[dict[str, Any]]:
    rules = answer.verdicts if answer and answer.verdicts is not None else ()
    found = []
    for comment_id, text in prompt.comments.items():
        rule = next((r for r in rules if _about(r, comment_id, text)), {})
        if not rule.get("omit"):
            given = {k: v for k, v in rule.items() if k not in {"about", "omit"}}
            found.append(_verdict(prompt, comment_id, text, spec, given))
    return found


def _about(rule: dict[str, Any], comment_id: str, text: str) -> bool:
    return rule.get("comment_id", comment_id) == comment_id and rule.get("about", "") in text


def _verdict(
    prompt: Prompt, comment_id: str, text: str, spec: ModelSpec, given: dict[str, Any]
) -> dict[str, Any]:
    # By what the comment says, and not by its name or its neighbours: batches change nothing.
    dice = _digest(text.partition("\n")[0].partition(comment_id)[2].rstrip("],"))
    rolled = "uncertain" if spec.skill == "silent" else _DECISIONS[dice[0] % 10]
    decision = given.get("decision", rolled)
    evidence = prompt.line(dice[1]).text if prompt.spots else None
    return {
        "comment_id": comment_id,
        "evidence": evidence,
        "decision": decision,
        "score": _SCORES.get(decision, 5) + dice[2] % 2,
        "reason": f"By the quoted line the claim is {decision}.",
        "corrected_severity": None,
        "corrected_start_line": None,
        "corrected_end_line": None,
        "duplicate_of": None,
    } | given
