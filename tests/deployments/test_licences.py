"""Licences as packages state them, and which of them may come."""

from __future__ import annotations

from email.message import Message
from importlib.metadata import PathDistribution, distributions
from pathlib import Path
from typing import Any

import pytest

from deployments.licences import Rules, is_allowed, read_licences, read_rules, stated

ALLOWED = frozenset({"MIT", "Apache-2.0"})


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("MIT AND Apache-2.0", True),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only AND MIT", False),
        ("GPL-3.0-only AND (Apache-2.0 OR MIT)", False),
        ("MIT AND (Apache-2.0 OR GPL-3.0-only)", True),
        ("(MIT OR GPL-3.0-only) AND GPL-3.0-only OR MIT", True),
        ("", False),
        ("(MIT", False),
        ("MIT MIT", False),
        ("MIT WITH exception", False),
    ],
)
def test_an_expression_is_allowed_when_it_can_be_met(expression: str, *, allowed: bool) -> None:
    """Of OR one side is enough, of AND both are needed; what is no expression is not allowed."""
    assert is_allowed(expression, ALLOWED) is allowed


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"License-Expression": "MIT"}, "MIT"),
        ({"License": "Apache-2.0"}, "Apache-2.0"),
        ({"License": "MIT License"}, "MIT"),
        ({"License": "MIT License\n\nPermission is hereby granted"}, "MIT"),
        ({"Classifier": "License :: OSI Approved :: MIT License"}, "MIT"),
        ({"License": "see the file", "Classifier": "License :: OSI Approved :: Odd"}, "(Odd)"),
        ({"License": "Dual License"}, ""),
        ({}, ""),
    ],
)
def test_what_a_package_states(fields: dict[str, str], expected: str) -> None:
    """Expression, field and classifiers, in that order; unknown words are no licence."""
    metadata: Any = Message()
    for name, value in fields.items():
        metadata[name] = value
    assert stated(metadata, {"MIT License": "MIT"}) == expected


def test_a_package_without_a_licence_needs_a_reason(tmp_path: Path) -> None:
    """It is refused by its normalised name until pyproject.toml says why it may come."""
    (tmp_path / "METADATA").write_text("Metadata-Version: 2.1\nName: Odd_One\nVersion: 1\n")
    package = PathDistribution(tmp_path)

    (refused,) = read_licences(Rules(ALLOWED, {}, {}), [package])
    (named,) = read_licences(Rules(ALLOWED, {}, {"odd-one": "ours"}), [package])

    assert (refused.package, refused.allowed) == ("odd-one", False)
    assert (named.reason, named.allowed) == ("ours", True)


def test_all_that_is_installed_is_allowed() -> None:
    """With the list as it is, nobody who installs the project meets a licence that is not on it."""
    refused = [one for one in read_licences(read_rules(), distributions()) if not one.allowed]

    assert not refused
