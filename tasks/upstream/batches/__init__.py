"""Files of requests that a provider answers by the morning, at half the price."""

from __future__ import annotations
