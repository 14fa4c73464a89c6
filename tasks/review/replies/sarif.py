"""
SARIF 2.1.0 -> findings, each with the path that it names. A trust boundary: any program writes it.

    runs[].results[]         one finding each; passed, suppressed and absent ones are none
    ruleId, rule, ruleIndex  the rule, by id or by its place among the driver's or an extension's
    level, security-severity error high, warning medium, note low; a CVSS score decides before it
    artifactLocation         "src/a.py", "file:///C:/a.py", "C:/a.py", by index, below a base
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import orjson

from tasks.core.errors import ReplyError
from tasks.core.text_safety import ellipsize, storable
from tasks.review.replies.contract import RawComment
from tasks.review.replies.items import read_comment

__all__ = ["SarifFinding", "SarifLog", "is_absolute", "read_sarif"]

_SEVERITIES = {"error": "high", "warning": "medium", "note": "low"}
_CVSS = ((9.0, "critical"), (7.0, "high"), (4.0, "medium"), (0.0, "low"))
_TAGS = ("security", "performance", "maintainability", "documentation", "style", "test")
_TAG_WORDS = {"correctness": "bug", "reliability": "bug", "readability": "maintainability"}
_PLACEHOLDER = re.compile(r"\{(\d+)\}")
_DRIVE = re.compile(r"^/?([A-Za-z]:/)")
_MAX_BASES = 8
_MAX_WORDS = 400


@dataclass(frozen=True, slots=True)
class SarifFinding:
    """One result."""

    path: str
    """With slashes; relative, or absolute as `is_absolute` says."""
    rule: str
    """The rule's id; empty: it has none."""
    raw: RawComment
    """Its `existing_code` is the snippet that came with it."""


@dataclass(frozen=True, slots=True)
class SarifLog:
    """What a SARIF file says."""

    findings: tuple[SarifFinding, ...]
    dropped: int
    """Results that name no file or say nothing."""
    failure: str | None
    """The tool's words, where it says itself that it failed."""


def read_sarif(data: bytes) -> SarifLog:
    """Read all runs of a SARIF file.

    Raises:
        ReplyError: unreadable_sarif: it is not JSON, or has no list of runs.
    """
    runs = _get(_loads(data), "runs")
    if not isinstance(runs, list):
        msg = "it is no SARIF: there is no list of runs in it"
        raise _unreadable(msg, data)
    read = [_Run(run) for run in runs if isinstance(run, dict)]
    results = [one for run in read for one in run.findings()]
    findings = tuple(one for one in results if one is not None)
    failures = [words for run in read if (words := run.failure()) is not None]
    return SarifLog(findings, len(results) - len(findings), failures[0] if failures else None)


def is_absolute(path: str) -> bool:
    """Whether a finding's path starts at the root of a machine."""
    return path.startswith("/") or _DRIVE.match(path) is not None


def _loads(data: bytes) -> Any:
    try:
        return orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except ValueError as error:
        msg = f"it is no SARIF: {error}" if data.strip() else "it wrote nothing"
        raise _unreadable(msg, data) from None


def _unreadable(message: str, data: bytes) -> ReplyError:
    text = data[:_MAX_WORDS].decode("utf-8", "replace")
    return ReplyError(message, code="unreadable_sarif", snippet=storable(text))


class _Run:
    """One run of one tool."""

    def __init__(self, run: Mapping[str, Any]) -> None:
        self._run = run
        self._driver = _get(run, "tool", "driver")
        self._rules = {
            str(rule["id"]): rule
            for part in (self._driver, *_list(_get(run, "tool", "extensions")))
            for rule in _list(_get(part, "rules"))
            if isinstance(rule, dict) and rule.get("id") is not None
        }

    def findings(self) -> Iterator[SarifFinding | None]:
        """Each result that is a finding; None where nothing can be made of it."""
        for result in _list(self._run.get("results")):
            if isinstance(result, dict) and _is_finding(result):
                rule_id, rule = self._rule(result)
                level = result.get("level") or _get(rule, "defaultConfiguration", "level")
                if level != "none":
                    yield self._finding(result, rule_id, rule, level or "warning")

    def failure(self) -> str | None:
        """What an invocation says that ended badly."""
        for one in _list(self._run.get("invocations")):
            if _get(one, "executionSuccessful") is False:
                notes = _list(_get(one, "toolExecutionNotifications"))
                words = [_get(note, "message", "text") for note in notes]
                said = [word for word in words if isinstance(word, str)]
                return ellipsize(storable("; ".join(said)), _MAX_WORDS) or "it says that it failed"
        return None

    def _rule(self, result: Mapping[str, Any]) -> tuple[str, Any]:
        given = result.get("ruleId") or _get(result, "rule", "id")
        if isinstance(given, str) and given:
            # A result may name a part of a rule: "CA1000/1".
            rule = self._rules.get(given) or self._rules.get(given.rpartition("/")[0])
            return given, rule or self._rule_at(result)
        rule = self._rule_at(result)
        return str(_get(rule, "id") or ""), rule

    def _rule_at(self, result: Mapping[str, Any]) -> Any:
        owner = _get(result, "rule", "toolComponent", "index")
        part = self._driver if owner is None else _at(_get(self._run, "tool", "extensions"), owner)
        index = result.get("ruleIndex")
        return _at(_get(part, "rules"), _get(result, "rule", "index") if index is None else index)

    def _finding(
        self, result: Mapping[str, Any], rule_id: str, rule: Any, level: str
    ) -> SarifFinding | None:
        places = (_get(one, "physicalLocation") for one in _list(result.get("locations")))
        known = ((self._path(place), place) for place in places)
        path, place = next(((path, place) for path, place in known if path), (None, None))
        message = self._message(result.get("message"), rule)
        if path is None or not message:
            return None
        item = _item(result, rule, rule_id, level, message) | _region(_get(place, "region"))
        raw = read_comment(item, Counter())
        return None if raw is None else SarifFinding(path, rule_id, raw)

    def _path(self, place: Any) -> str | None:
        location = _get(place, "artifactLocation")
        uri = _get(location, "uri")
        if not isinstance(uri, str):
            location = _get(_at(self._run.get("artifacts"), _get(location, "index")), "location")
            uri = _get(location, "uri")
        return _as_path(self._based(uri, _get(location, "uriBaseId"))) if uri else None

    def _based(self, uri: Any, base_id: Any) -> str:
        """A URI below its base, where the file says what that is."""
        found = str(uri)
        for _ in range(_MAX_BASES):
            base = _get(self._run.get("originalUriBaseIds"), base_id)
            above = _get(base, "uri")
            if isinstance(above, str) and not urlsplit(found).scheme:
                found = urljoin(above, found) if urlsplit(above).scheme else above + found
            base_id = _get(base, "uriBaseId")
        return found

    def _message(self, message: Any, rule: Any) -> str:
        text = _get(message, "text") or _get(message, "markdown")
        name = _get(message, "id")
        if not text and name is not None:
            strings = _get(rule, "messageStrings", name) or _get(
                self._driver, "globalMessageStrings", name
            )
            text = _get(strings, "text") or _get(strings, "markdown")
        text = text or _get(rule, "shortDescription", "text")
        given = _list(_get(message, "arguments"))
        return _PLACEHOLDER.sub(lambda m: str(_at(given, int(m[1])) or m[0]), str(text or ""))


def _is_finding(result: Mapping[str, Any]) -> bool:
    dismissed = [
        one
        for one in _list(result.get("suppressions"))
        if _get(one, "status") in {None, "accepted"}
    ]
    known = result.get("kind", "fail") == "fail" and result.get("baselineState") != "absent"
    return known and not dismissed


def _item(
    result: Mapping[str, Any], rule: Any, rule_id: str, level: str, message: str
) -> dict[str, Any]:
    about = _get(rule, "shortDescription", "text")
    score = _score(_get(result, "properties", "security-severity"))
    score = _score(_get(rule, "properties", "security-severity")) if score is None else score
    severity = next(word for least, word in _CVSS if score >= least) if score is not None else None
    return {
        "category": _category(result, rule, level, is_security=score is not None),
        "severity": severity or _SEVERITIES.get(str(level), "medium"),
        "title": f"{rule_id}: {message}" if rule_id else message,
        "message": message,
        "rationale": about if isinstance(about, str) and about != message else None,
    }


def _category(result: Mapping[str, Any], rule: Any, level: str, *, is_security: bool) -> str:
    tags = [*_list(_get(result, "properties", "tags")), *_list(_get(rule, "properties", "tags"))]
    words = [str(tag).lower() for tag in tags]
    if is_security or "security" in words:
        return "security"
    named = (_TAG_WORDS.get(word, word) for word in words)
    found = next((word for word in named if word in _TAGS or word == "bug"), None)
    return found or ("bug" if level == "error" else "maintainability")


def _score(value: Any) -> float | None:
    try:
        score = float(value)
    except (TypeError, ValueError):
        return None
    return score if 0 < score <= 10 else None  # noqa: PLR2004 - the scale of CVSS


def _region(region: Any) -> dict[str, Any]:
    start, end = _get(region, "startLine"), _get(region, "endLine")
    # An end before the first column is the end of the line above it.
    if isinstance(start, int) and isinstance(end, int) and end > start:
        end -= _get(region, "endColumn") == 1
    return {
        "start_line": start,
        "end_line": end,
        "existing_code": _get(region, "snippet", "text"),
    }


def _as_path(uri: str) -> str | None:
    if uri.lower().startswith("file:"):
        uri = uri[len("file:") :]
        uri = "/" + uri.lstrip("/") if not uri.startswith("//") else "/" + uri[2:].partition("/")[2]
    path = unquote(uri).replace("\\", "/")
    path = _DRIVE.sub(r"\1", path)
    path = posixpath.normpath(path) if path else ""
    return storable(path) if path not in {"", "."} else None


def _get(value: Any, *names: Any) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) and isinstance(name, str) else None
    return value


def _at(values: Any, index: Any) -> Any:
    known = isinstance(index, int) and not isinstance(index, bool) and isinstance(values, list)
    return values[index] if known and 0 <= index < len(values) else None


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
