"""What is said when a file cannot be written."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tasks.core.errors import OutputError
from tasks.core.files import output_errors


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("the archive is closed"), "the archive is closed"),
        (TimeoutError(), "TimeoutError"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (OSError(errno.ENOSPC, "No space left"), "the disk is full"),
    ],
)
def test_an_error_without_a_number_says_its_own(error: OSError, said: str) -> None:
    """It never says "Success", which is what number 0 stands for."""
    with pytest.raises(OutputError, match=said), output_errors(Path("a")):
        raise error
