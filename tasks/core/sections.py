"""
Sections of a run that reviews several repositories: each has findings, rules and history of its own.

An input of repository `shop` has an id `shop//src/a.py@1a2b3c`; a run of one source has no sections.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Sectioned", "in_section", "split_section"]

_BORDER = "//"
"""Not in a path of git's, so the first one ends the section's name."""


class Sectioned(NamedTuple):
    """A name, and the section that it is in; empty: in none."""

    section: str
    name: str


def in_section(section: str, name: str) -> str:
    """`name` with its section, as ids of inputs have it."""
    return f"{section}{_BORDER}{name}" if section else name


def split_section(text: str) -> Sectioned:
    """The inverse of `in_section`."""
    section, border, name = text.partition(_BORDER)
    # An id that is a URL is in no section.
    known = bool(border) and bool(section) and ":" not in section
    return Sectioned(section, name) if known else Sectioned("", text)
