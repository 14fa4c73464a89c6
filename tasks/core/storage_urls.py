"""Places in shared storage, as a user writes them."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["is_url", "without_password"]


def is_url(place: str) -> bool:
    """Whether it is for fsspec, and not a path of this machine."""
    return "://" in place


def without_password(place: str) -> str:
    """The place itself, without a slash at its end.

    Raises:
        ValueError: it holds a password; the message does not repeat it.
    """
    if is_url(place) and urlsplit(place).password:
        msg = (
            "must not hold a password: it is stored with every run. Leave it out of the URL and "
            "give it to the driver on every machine (fsspec's configuration, or its variables)"
        )
        raise ValueError(msg)
    return place.rstrip("/")
