"""Chat markers in code are made harmless, and code comes back as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.review.inputs.chat_tokens import defuse, restore

MARKERS = [
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|start_header_id|>",
    "<|user|>",
    "<\uff5cUser\uff5c>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "<|START_OF_TURN_TOKEN|>",
    "[INST]",
    "[/INST]",
    "[SYSTEM_PROMPT]",
    "[/TOOL_RESULTS]",
    "<s>",
    "</s>",
    "<bos>",
    "<start_of_turn>",
    "<end_of_turn>",
]


@pytest.mark.parametrize("marker", MARKERS)
def test_markers_are_broken_up(marker: str) -> None:
    """No marker of a chat template is left, doubled and nested ones neither."""
    for text in (marker, f'x = "{marker}"', marker * 3, f"<{marker}|>", f"[{marker}]"):
        assert marker not in defuse(text)
        assert restore(defuse(text)) == text


@pytest.mark.parametrize(
    "code", ["f <| x |> g", "a[i] < b", "List<String>", "x = [INST_1]", "<span>", "a <|> b", "<||>"]
)
def test_ordinary_code_is_left_alone(code: str) -> None:
    """Operators, generics and tags are no markers."""
    assert defuse(code) == code


@given(parts=st.lists(st.sampled_from([*MARKERS, "<", "|", ">", "[", "/", "a", "\n"])))
def test_round_trip(parts: list[str]) -> None:
    """Restore undoes defuse on any mixture, and defusing twice adds nothing."""
    text = "".join(parts)
    assert restore(defuse(text)) == text
    assert defuse(defuse(text)) == defuse(text)
