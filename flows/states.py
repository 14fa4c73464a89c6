"""How runs end, beside Prefect's own states: the name is what people read, the type is its colour."""

from __future__ import annotations

__all__ = ["INCOMPLETE", "REFUSED"]

INCOMPLETE = "Incomplete"
"""Wrote its outputs with gaps. Its type is FAILED, so it is not green."""

REFUSED = "Refused"
"""Did not start: bad configuration or input. Its type is FAILED."""
