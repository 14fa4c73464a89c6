"""What all subcommands share: plain help pages whose examples keep their lines, and how they reach deployments."""

from __future__ import annotations

from importlib import import_module
from inspect import cleandoc
from typing import Any

from tasks.core.errors import ConfigError

__all__ = ["APP", "deployment", "examples"]

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


def deployment(name: str) -> Any:
    """The module `name` of deployments, loaded by name: that package lies above this one.

    Raises:
        ConfigError: a package of an extra is not installed.
    """
    try:
        return import_module(f"deployments.{name}")
    except ModuleNotFoundError as error:
        msg = (
            f"the package {error.name} is not installed: run `make setup`, or `pip install "
            "'nightly-review[sandbox]'` for the sandbox"
        )
        raise ConfigError(msg) from None
