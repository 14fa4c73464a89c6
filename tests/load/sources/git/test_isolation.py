"""The diff depends on the two commits alone, and what is no change of code is told."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import RowError, SourceError
from tasks.core.selection import GitOptions
from tasks.load.sources import read_source

CODE = "class A:\n    def a(self):\n" + "        x = 0\n" * 12 + "\n        y = 1\n"


def _rows(source: str) -> dict[str, Any]:
    rows = read_source(source, GitOptions())
    return {row.snippet: row.row.code if isinstance(row.row, RowError) else row.row for row in rows}


@pytest.mark.parametrize("attributes", ["*.py diff=python\n", "*.py -diff\n", "*.py binary\n"])
def test_user_settings_do_not_reach_the_diff(
    repository: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attributes: str
) -> None:
    """Attributes and settings of the user's, committed by nobody, change neither id nor text."""
    repository.commit({"a.py": CODE})
    repository.commit({"a.py": CODE.replace("y = 1", "y = 2")})
    source = f"git:{repository.root}@HEAD~1..HEAD"
    before = _rows(source)
    home = tmp_path / "home"
    (home / "git").mkdir(parents=True)
    (home / "git" / "attributes").write_text(attributes)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    assert _rows(source) == before
    (home / "own").write_text(attributes)
    for name, value in (
        ("core.attributesFile", str(home / "own")),
        ("diff.suppressBlankEmpty", "true"),
        ("color.diff", "always"),
        ("diff.noprefix", "true"),
    ):
        repository.git("config", name, value)
    repository.write(".gitattributes", attributes)
    assert _rows(source) == before


def test_no_driver_and_no_attribute_of_the_clone_reaches_the_diff(
    repository: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A committed attribute names a diff driver; what it does is not for the reader's settings to say."""
    attributes = "*.py diff=python\n*.txt diff=own\n"
    repository.commit({".gitattributes": attributes, "a.py": CODE, "b.txt": CODE})
    changed = CODE.replace("y = 1", "y = 2")
    repository.commit({"a.py": changed, "b.txt": changed})
    source = f"git:{repository.root}@HEAD~1..HEAD"
    before = _rows(source)
    assert before.keys() == {"a.py", "b.txt"}
    info = repository.root / ".git" / "info"
    info.mkdir(exist_ok=True)
    (info / "attributes").write_text("*.py -diff\n*.txt binary\n")
    assert _rows(source) == before
    (info / "attributes").unlink()
    for driver in ("python", "own"):
        repository.git("config", f"diff.{driver}.xfuncname", "^.*(x = 0).*$")
        repository.git("config", f"diff.{driver}.binary", "true")
    assert _rows(source) == before
    for driver in ("python", "own"):
        repository.git("config", "--remove-section", f"diff.{driver}")
    settings = tmp_path / "settings"
    settings.write_text('[diff "own"]\n\txfuncname = "^.*(x = 0).*$"\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    assert _rows(source) == before
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "diff.python.binary")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")
    assert _rows(source) == before


def test_committed_attributes_count(repository: Any) -> None:
    """What the newer commit itself says of a file holds, whatever the work tree has."""
    repository.commit({"a.dat": "x\n", "sub/.gitattributes": "*.dat -diff\n", "sub/b.dat": "x\n"})
    repository.commit({"a.dat": "y\n", "sub/b.dat": "y\n"})
    (repository.root / "sub" / ".gitattributes").unlink()
    rows = _rows(f"git:{repository.root}@HEAD~1..HEAD")
    assert rows["sub/b.dat"] == "binary"
    assert "+y" in rows["a.dat"]["content"]


def test_an_ignored_submodule_has_its_row(repository: Any) -> None:
    """`ignore = all` hides it from git's output, not from ours."""
    module = '[submodule "lib"]\n\tpath = lib\n\turl = ./lib\n\tignore = all\n'
    repository.commit({".gitmodules": module})
    for digit in "12":
        repository.git("update-index", "--add", "--cacheinfo", f"160000,{digit * 40},lib")
        repository.git("commit", "-q", "-m", "lib")
    assert _rows(f"git:{repository.root}@HEAD~1..HEAD") == {"lib": "submodule"}


def test_what_is_no_code_is_not_an_input(repository: Any) -> None:
    """Line endings alone and pointers of Git LFS are rows with their reasons."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 3\n"
    repository.commit({"w.py": "a\r\nb\r\n", "m.bin": pointer.format("a" * 64), "e.py": "x"})
    repository.commit({"w.py": "a\nb\n", "m.bin": pointer.format("b" * 64), "e.py": "x\n"})
    repository.commit({"w.py": "a\r\nc\r\n"})
    assert _rows(f"git:{repository.root}@HEAD~2..HEAD~1") == {
        "w.py": "no_text_change",
        "m.bin": "lfs_pointer",
        "e.py": "no_text_change",
    }
    assert "+c\r\n" in _rows(f"git:{repository.root}@HEAD~1..HEAD")["w.py"]["content"]


@pytest.mark.parametrize("filtered", ["blob:none", "tree:0"])
def test_a_partial_clone_is_named_with_its_remedy(
    repository: Any, tmp_path: Path, filtered: str
) -> None:
    """The message says what is missing and what to run; after that the range is read."""
    for number in "123":
        repository.commit({"a.py": f"x = {number}\n"})
    repository.git("config", "uploadpack.allowFilter", "true")
    repository.git("config", "uploadpack.allowAnySHA1InWant", "true")
    clone = tmp_path / "clone"
    address = f"file://{repository.root}"
    clone_it = ["git", "clone", "-q", f"--filter={filtered}", address, clone]
    subprocess.run(clone_it, check=True, timeout=60)
    source = f"git:{clone}@HEAD~2..HEAD~1"
    with pytest.raises(SourceError, match="partial clone") as caught:
        _rows(source)
    assert "warning" not in str(caught.value)
    remedy = str(caught.value).rpartition("run git -C ")[2].split()
    subprocess.run(["git", "-C", *remedy], check=True, capture_output=True, timeout=60)
    assert list(_rows(source)) == ["a.py"]
