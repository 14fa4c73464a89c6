"""What all help pages share: plain text, and examples that keep their lines."""

from __future__ import annotations

from inspect import cleandoc
from typing import Any

__all__ = ["APP", "examples"]

# A flag that is not typed is None to typer, which has pydantic check it: as long an import as all the
# rest of a help page.
_FLAGS = dict.fromkeys(("help", "install_completion", "show_completion"), False)

APP: dict[str, Any] = {
    "rich_markup_mode": None,  # rich alone takes half of the time that a help page may take
    "pretty_exceptions_enable": False,  # a traceback with local variables could show a key
    "context_settings": {"help_option_names": ["-h", "--help"], "default_map": _FLAGS},
}
"""Settings of an app and of each group of commands."""


def examples(*texts: str) -> str:
    """`texts` as the end of a help page: no paragraph of them is filled anew."""
    paragraphs = "\n\n".join(map(cleandoc, texts)).split("\n\n")
    return "\n\n".join(f"\b\n{one}" for one in paragraphs)
