"""
The licence of every installed package, against the list in pyproject.toml.

    1  its SPDX expression     MIT OR Apache-2.0
    2  its License field, where that is an expression, or begins with a name of [tool.licences.names]
    3  its trove classifiers, all of which must be allowed

A package that says none of these, or one that is not allowed, must be in [tool.licences.packages]
with a reason.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, PackageMetadata, distributions
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Licence", "Rules", "is_allowed", "read_licences", "read_rules", "stated"]

_PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
_CLASSIFIER = "License :: OSI Approved :: "
_TOKEN = re.compile(r"\(|\)|[^\s()]+")
_EXPRESSION = re.compile(r"\(*[\w.+-]+\)*(?: (?:AND|OR|WITH) \(*[\w.+-]+\)*)*")
"""Ids that are joined, and not a sentence."""


class Rules(NamedTuple):
    """The licence rules of a pyproject.toml."""

    allowed: frozenset[str]
    """SPDX ids."""
    names: Mapping[str, str]
    """What packages write -> SPDX id."""
    reasons: Mapping[str, str]
    """Why a package may come all the same, by its name."""


class Licence(NamedTuple):
    """One package's licence."""

    package: str
    version: str
    stated: str
    """SPDX expression as far as it is known; empty: the package says nothing."""
    reason: str
    """Why it may come all the same; empty: it needs none, or has none."""
    allowed: bool


def read_rules(pyproject: Path = _PYPROJECT) -> Rules:
    """The rules in a pyproject.toml."""
    table: dict[str, Any] = tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]["licences"]
    return Rules(frozenset(table["allow"]), table["names"], table["packages"])


def read_licences(rules: Rules, packages: Iterable[Distribution]) -> list[Licence]:
    """The licences of some packages, by name. The project's own is left out."""
    found = (_licence(rules, package.name, package.metadata) for package in packages)
    return sorted(one for one in found if one.package != "nightly-review")


def stated(metadata: PackageMetadata, names: Mapping[str, str]) -> str:
    """What a package says of its licence, as an SPDX expression; empty: nothing that is known."""
    # The field may hold the whole text of a licence, whose first line is its name.
    field = _field(metadata, "License").split("\n", 1)[0].strip()
    for text in (_field(metadata, "License-Expression"), names.get(field, field)):
        if _EXPRESSION.fullmatch(text):
            return text
    classifiers = [
        one.removeprefix(_CLASSIFIER)
        for one in metadata.get_all("Classifier") or ()
        if one.startswith(_CLASSIFIER)
    ]
    return " AND ".join(names.get(one, f"({one})") for one in classifiers)


def is_allowed(expression: str, allowed: frozenset[str]) -> bool:
    """Whether an SPDX expression can be met: of OR one side, of AND both. The empty one cannot."""
    tokens = _TOKEN.findall(expression)
    return bool(tokens) and _either(tokens, allowed) and not tokens


def _licence(rules: Rules, package: str, metadata: PackageMetadata) -> Licence:
    name, said = _name(package), stated(metadata, rules.names)
    fine = is_allowed(said, rules.allowed)
    reason = "" if fine else rules.reasons.get(name, "")
    return Licence(name, _field(metadata, "Version"), said, reason, fine or bool(reason))


def _field(metadata: PackageMetadata, name: str) -> str:
    return str((metadata.get_all(name) or [""])[0])


def _name(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def _either(tokens: list[str], allowed: frozenset[str]) -> bool:
    found = _both(tokens, allowed)
    while tokens and tokens[0] == "OR":
        del tokens[0]
        found = _both(tokens, allowed) or found
    return found


def _both(tokens: list[str], allowed: frozenset[str]) -> bool:
    found = _one(tokens, allowed)
    while tokens and tokens[0] == "AND":
        del tokens[0]
        found = _one(tokens, allowed) and found
    return found


def _one(tokens: list[str], allowed: frozenset[str]) -> bool:
    if not tokens:
        return False
    token = tokens.pop(0)
    if token != "(":  # noqa: S105 - a bracket
        return token in allowed
    found = _either(tokens, allowed)
    return tokens[:1] == [")"] and tokens.pop(0) == ")" and found


def _lines(licences: Iterable[Licence]) -> Iterator[str]:
    for one in licences:
        yield f"{one.package:28} {one.version:18} {one.reason or one.stated or 'none stated'}"


def main() -> int:
    """Print the licences; 1: one is not allowed."""
    found = read_licences(read_rules(), distributions())
    print("\n".join(_lines(found)))
    refused = [one for one in found if not one.allowed]
    for line in _lines(refused):
        print(f"not allowed: {line}", file=sys.stderr)
    if refused:
        print(
            "Choose other packages, or name these with a reason in pyproject.toml "
            "([tool.licences.packages]).",
            file=sys.stderr,
        )
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
