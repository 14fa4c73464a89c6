"""
A team's rules for one input, as the system message shows them below ours.

    taken    [[rules]] of review.toml whose patterns match, then the files of the input's folders, the
             nearest first, until max_rule_tokens are used: what does not fit any more is cut at a line
    shown    the other way round, the widest first, so that inputs of one repository have the longest
             equal beginning, which providers cache

Files are the repository's, from before the commits under review: a change cannot weaken its judge.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pathspec import PathSpec

from tasks.core.errors import RowError
from tasks.core.records import Input
from tasks.core.rule_settings import RuleSettings
from tasks.core.settings import Settings
from tasks.core.team_rules import RuleFile, RuleUse
from tasks.review.inputs.diffs import parse_diff
from tasks.review.inputs.tokens import count_tokens
from tasks.review.prompts import (
    PROMPT_VERSION,
    PromptForm,
    context_block,
    language_block,
    rules_block,
)

__all__ = ["AppliedRules", "TeamRules"]

_LEAST = 40
"""Tokens; a shorter beginning of a rule says too little."""
_CUT = "(cut here)"


@dataclass(frozen=True, slots=True)
class AppliedRules:
    """What one input's prompts say of the team's rules and the language."""

    form: PromptForm
    """With language and rules as the end of the system message."""
    whole: tuple[str, ...] = ()
    """Names of the rules that are in it."""
    cut: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def count(self, uses: Mapping[str, RuleUse]) -> None:
        """Add one input to the use of each rule."""
        for name in (*self.whole, *self.cut):
            uses[name].inputs += 1
        for name in self.cut:
            uses[name].cut += 1
        for name in self.left_out:
            uses[name].left_out += 1


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    text: str
    changed: bool = False


class TeamRules:
    """The rules of a run: those of its review.toml and of the reviewed repositories. Thread-safe."""

    def __init__(self, settings: Settings, files: Sequence[RuleFile] = ()) -> None:
        self._most = settings.max_rule_tokens
        self._language = language_block(settings.language)
        self._short = settings.prompt == "short"
        self._context = context_block() if settings.context != "hunk" else ""
        self._own = [
            (_pattern(one), _Rule(f"[[rules]] {number}", one.text))
            for number, one in enumerate(settings.rules, 1)
        ]
        several = len({one.repo for one in files}) > 1
        self._files: dict[tuple[str, str], list[_Rule]] = {}
        for one in files:
            name = f"{one.repo}: {one.path}" if several else one.path
            rule = _Rule(name, one.text, one.changed)
            self._files.setdefault((one.repo, one.folder), []).append(rule)
        self._applied = lru_cache(maxsize=1024)(self._build)

    def for_input(self, item: Input) -> AppliedRules:
        """The rules that cover an input: a diff of several files gets those of each."""
        rules = tuple(self._found(item)) if self._own or self._files else ()
        return self._applied(rules, item.kind == "diff")

    def uses(self) -> dict[str, RuleUse]:
        """A count for every rule, all zero."""
        listed = [rule for _, rule in self._own]
        listed += [rule for rules in self._files.values() for rule in rules]
        return {rule.name: RuleUse(changed=rule.changed) for rule in listed}

    def version(self) -> str:
        """Version of all prompts of the run: sha256 over ours, their form, every rule and the language."""
        rules = [rule for _, rule in self._own]
        rules += [rule for found in self._files.values() for rule in found]
        if not rules and not self._language and not self._short and not self._context:
            return PROMPT_VERSION
        texts = [
            PROMPT_VERSION,
            str(self._short),
            self._context,
            self._language,
            *(f"{one.name}\0{one.text}" for one in rules),
        ]
        return hashlib.sha256("\0\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()

    def _found(self, item: Input) -> Iterator[_Rule]:
        """The rules that cover an input, what is to be kept first in front."""
        paths = _paths(item)
        for pattern, rule in self._own:
            if pattern is None or any(map(pattern.match_file, paths)):
                yield rule
        folders = {folder for path in paths for folder in _folders(path)} | {""}
        repo = item.extra.get("repo")
        for folder in sorted(folders, key=lambda one: (-one.count("/") - bool(one), one)):
            yield from self._files.get((repo, folder), ()) if isinstance(repo, str) else ()

    def _build(self, rules: tuple[_Rule, ...], is_diff: bool) -> AppliedRules:
        left, texts = self._most, list[str]()
        names: dict[str, list[str]] = {"whole": [], "cut": [], "left_out": []}
        for rule in rules:
            text = _within(rule.text, left)
            kept = "left_out" if text is None else "whole" if text == rule.text else "cut"
            names[kept].append(rule.name)
            if text is not None:
                left -= _tokens(text)
                texts.append(f"# {rule.name}\n{text.strip()}")
        shown = [rules_block("\n\n".join(reversed(texts)))] if texts else []
        context = self._context if is_diff else ""
        blocks = [block for block in (context, self._language, *shown) if block]
        form = PromptForm("\n\n".join(blocks), self._short)
        return AppliedRules(form, **{key: tuple(one) for key, one in names.items()})


def _pattern(rule: RuleSettings) -> PathSpec | None:  # type: ignore[type-arg]
    return PathSpec.from_lines("gitignore", rule.paths) if rule.paths else None


def _paths(item: Input) -> list[str]:
    if item.path is not None or item.kind != "diff":
        return [item.path] if item.path else []
    try:
        return [file.path for file in parse_diff(item.content) if file.path]
    except RowError:
        return []  # told when it is rendered


def _folders(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _within(text: str, most: int) -> str | None:
    """The text, or its first lines, within so many tokens; None: nothing worth showing fits."""
    if _tokens(text) <= most:
        return text
    kept, left = list[str](), most - _tokens(_CUT)
    for line in text.splitlines():
        left -= _tokens(line) + 1
        if left < 0:
            break
        kept.append(line)
    beginning = "\n".join(kept)
    return f"{beginning}\n{_CUT}" if _tokens(beginning) >= _LEAST else None


def _tokens(text: str) -> int:
    return count_tokens(text, "").tokens
