"""When a suggestion may be offered as a change that a tool applies by itself."""

from __future__ import annotations

from tasks.finished.export.paths import leaves_root
from tasks.review.findings.findings import Finding, line_range

__all__ = ["fix_of"]

_SURE = frozenset({"exact", "quote"})


def fix_of(finding: Finding) -> tuple[int, int, str] | None:
    """First line, last line and their new text without the last line break, or None.

    Only where the quote was found in the code: then these lines are what the model rewrote. Never
    where bytes of the file were replaced, which would be written back, nor outside the repository.
    """
    lines, text = line_range(finding), finding["suggestion"]
    if text is None or lines is None or finding["loc_method"] not in _SURE:
        return None
    if "\ufffd" in text or "\ufffd" in (finding["existing_code"] or ""):
        return None
    if leaves_root(finding["path"]):
        return None
    return (*lines, text.removesuffix("\n").removesuffix("\r"))
