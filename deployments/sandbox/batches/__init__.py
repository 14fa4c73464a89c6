"""Files and batches as OpenAI, Azure and Together document them, on a clock that can be moved."""

from __future__ import annotations
