"""File names in diff headers: quoted, prefixed, with timestamps, or /dev/null."""

from __future__ import annotations

import re

__all__ = ["git_header_paths", "header_path", "strip_prefixes"]

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PAIR = re.compile(rf"({_QUOTED}|\S+) ({_QUOTED}|\S+)")
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|.)", re.DOTALL)
_NAMED = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_NOWHERE = "/dev/null"
# git's prefixes: plain, and those of diff.mnemonicPrefix; -R swaps them.
_PREFIXES = {("a/", "b/"), ("i/", "w/"), ("c/", "i/"), ("c/", "w/"), ("o/", "w/"), ("1/", "2/")}
_PREFIXES |= {(new, old) for old, new in _PREFIXES}


def header_path(text: str) -> str:
    """The name in a `--- `, `+++ `, `rename from ` line's rest: unquoted, without a timestamp."""
    quoted = re.match(_QUOTED, text)
    if quoted:
        return _unquote(quoted.group())
    return text.split("\t", 1)[0]


def git_header_paths(rest: str) -> tuple[str, str] | None:
    """Both names of `diff --git OLD NEW`, prefixes kept; None where spaces make it ambiguous."""
    pair = _PAIR.fullmatch(rest)
    if pair:
        return header_path(pair.group(1)), header_path(pair.group(2))
    middle = len(rest) // 2
    old, new = rest[:middle], rest[middle + 1 :]
    # Names with spaces are not quoted; without a rename both halves are the same but for the prefix.
    same = old == new or (old[2:] == new[2:] and (old[:2], new[:2]) in _PREFIXES)
    return (old, new) if same and rest[middle : middle + 1] == " " else None


def strip_prefixes(
    old: str, new: str, header: tuple[str, str] | None
) -> tuple[str | None, str | None]:
    """Old and new name without `a/` and `b/`; None for /dev/null.

    The git header, where there is one, decides whether there are prefixes at all: with
    `diff.noprefix` a folder may itself be called `a` or `b`.
    """
    if _prefixed(*(header or (old, new))):
        old, new = (name if name == _NOWHERE else name[2:] for name in (old, new))
    return (None if old == _NOWHERE else old), (None if new == _NOWHERE else new)


def _prefixed(old: str, new: str) -> bool:
    if old == _NOWHERE:
        return new.startswith("b/")
    if new == _NOWHERE:
        return old.startswith("a/")
    return (old[:2], new[:2]) in _PREFIXES


def _unquote(quoted: str) -> str:
    raw = quoted[1:-1].encode("utf-8", "surrogatepass")
    return _ESCAPE.sub(_unescape, raw).decode("utf-8", "replace")


def _unescape(match: re.Match[bytes]) -> bytes:
    escaped: bytes = match.group(1)
    if escaped.isdigit() and escaped < b"8":
        return bytes([int(escaped, 8) & 0xFF])
    return _NAMED.get(escaped, escaped)
