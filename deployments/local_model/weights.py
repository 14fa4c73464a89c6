"""
The model's weights in the form that this runtime computes fastest.

The package has them as Q4_1, for which llama.cpp computes one token at a time: a prompt takes twice as
long as it needs to. They are written anew as Q8_0, once, into the environment of this Python.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tasks.core.errors import OutputError
from tasks.core.files import atomic

__all__ = ["fast_weights"]


def fast_weights(packaged: Path, folder: Path | None = None) -> Path:
    """The file with the weights as Q8_0, written on first use; `packaged` where that cannot be done.

    It is kept in `folder`, by default one of this Python's environment.
    """
    folder = folder or Path(sys.prefix) / "share" / "nightly-review"
    fast = folder / f"{packaged.stem}.Q8_0.gguf"
    if not fast.exists():
        from deployments.local_model.q8_0 import write_q8_0  # noqa: PLC0415 - numpy, for one start of all

        try:
            folder.mkdir(parents=True, exist_ok=True)
            with atomic(fast) as target:
                write_q8_0(packaged, target)
        # Somebody else's environment, a full disk, another format.
        except (OSError, OutputError, ValueError):
            return packaged
    return fast
