"""Prefect flows: the chain that reads as prose."""

from __future__ import annotations

import os

# Prefect reads it when it is imported: no usage statistics leave the machine unless somebody says so.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
