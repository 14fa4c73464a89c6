"""File names in diff headers: quoted, prefixed, with timestamps, or /dev/null."""

from __future__ import annotations

import re

__all__ = ["git_header_paths", "header_path", "strip_prefixes"]

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PAIR = re.compile(rf"({_QUOTED}|\S+) ({_QUOTED}|\S+)")
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|.)", re.DOTALL)
_NAMED = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_NOWHERE = "/dev/null"
# git's prefixes: plain, and those of diff.mnemonicPrefix; -R swaps them. Bitbucket's are the last.
_PREFIXES = {("a/", "b/"), ("i/", "w/"), ("c/", "i/"), ("c/", "w/"), ("o/", "w/"), ("1/", "2/")}
_PREFIXES |= {(new, old) for old, new in _PREFIXES} | {("src://", "dst://"), ("dst://", "src://")}
_SCHEMES = ("src://", "dst://")


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
    size = _prefix_size(old, new)
    same = old == new or (size > 0 and old[size:] == new[size:])
    return (old, new) if same and rest[middle : middle + 1] == " " else None


def strip_prefixes(
    old: str, new: str, header: tuple[str, str] | None
) -> tuple[str | None, str | None]:
    """Old and new name without `a/` and `b/` or what else sets them apart; None for /dev/null.

    The git header, where there is one, decides whether there are prefixes at all: with
    `diff.noprefix` a folder may itself be called `a` or `b`. For a diff that renames nothing.
    """
    pair = header or (old, new)
    size = _prefix_size(*pair)
    common = "" if size else _common_end(*pair, deep=header is not None)

    def bare(name: str) -> str | None:
        if name == _NOWHERE:
            return None
        return common if common and name in pair else _without_scheme(name[size:])

    return bare(old), bare(new)


def _prefix_size(old: str, new: str) -> int:
    """Characters of the known prefixes that both names have; 0: they have none."""
    if old == _NOWHERE:
        return 2 if new.startswith("b/") else 0
    if new == _NOWHERE:
        return 2 if old.startswith("a/") else 0
    known = (len(a) for a, b in _PREFIXES if old.startswith(a) and new.startswith(b))
    return next(known, 0)


def _common_end(old: str, new: str, *, deep: bool) -> str:
    """What two names share behind prefixes of the user's own; "" where they have none.

    `deep`: the prefixes may have several folders, as git's settings allow.
    """
    if old == new or _NOWHERE in {old, new}:
        return ""
    parts = [old.split("/"), new.split("/")]
    shared = 0
    while shared < min(map(len, parts)) - 1 and parts[0][-1 - shared] == parts[1][-1 - shared]:
        shared += 1
    flat = {len(names) - shared for names in parts} == {1}
    return "/".join(parts[1][-shared:]) if shared and (deep or flat) else ""


def _without_scheme(name: str) -> str:
    return next((name.removeprefix(one) for one in _SCHEMES if name.startswith(one)), name)


def _unquote(quoted: str) -> str:
    raw = quoted[1:-1].encode("utf-8", "surrogatepass")
    return _ESCAPE.sub(_unescape, raw).decode("utf-8", "replace")


def _unescape(match: re.Match[bytes]) -> bytes:
    escaped: bytes = match.group(1)
    if escaped.isdigit() and escaped < b"8":
        return bytes([int(escaped, 8) & 0xFF])
    return _NAMED.get(escaped, escaped)
