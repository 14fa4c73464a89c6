"""Links to a code host: what they may look like, and that no name leads elsewhere."""

from __future__ import annotations

import pytest

from tasks.core.code_links import check_link, code_link

_LINK = "https://git.example.test/{repo}/blob/{commit}/{path}#L{line}"
_VALUES = {"repo": "team/app", "commit": "0f3a", "path": "src/a.py", "line": 7}


def test_a_line_has_its_address() -> None:
    """Every field is filled in, a slash in a path stays one."""
    assert code_link(_LINK, _VALUES) == "https://git.example.test/team/app/blob/0f3a/src/a.py#L7"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("a b#c?d.py", "a%20b%23c%3Fd.py"),
        ('"><script>.py', "%22%3E%3Cscript%3E.py"),
        ("\u202egnp.py", "%E2%80%AEgnp.py"),
        ("100%/{line}.py", "100%25/%7Bline%7D.py"),
    ],
)
def test_names_are_encoded(path: str, shown: str) -> None:
    """No path adds markup, a query, a fragment or a field."""
    link = f"https://git.example.test/team/app/blob/0f3a/{shown}#L7"
    assert code_link(_LINK, _VALUES | {"path": path}) == link


@pytest.mark.parametrize(
    "values",
    [
        {"path": "../../settings"},
        {"path": "/etc/passwd"},
        {"path": "a/./b"},
        {"path": "a\\..\\b"},
        {"repo": ".."},
        {"repo": "/evil.test"},
        {"line": None},
        {"commit": ""},
    ],
)
def test_no_link_rather_than_a_wrong_one(values: dict[str, object]) -> None:
    """A name that climbs out of its folder, or none at all, makes no link."""
    assert code_link(_LINK, _VALUES | values) is None


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)//{path}",
        "data:text/html,{path}",
        "file:///{path}",
        "//git.example.test/{path}",
        "git.example.test/{path}",
        "https://{repo}/x",
        "https://me:secret@git.example.test/{path}",
        "https://git.example.test/{name}",
        "https://git.example.test/{path",
        'https://git.example.test/"onclick=',
        "https://git.example.test/a b/{path}",
    ],
)
def test_what_is_no_link_is_refused(link: str) -> None:
    """Only http and https, a host of its own, known fields."""
    with pytest.raises(ValueError, match=r"must begin with|may hold"):
        check_link(link)


def test_a_link_without_fields_is_one() -> None:
    """The host alone, and http, are allowed."""
    assert check_link("http://127.0.0.1:8080/{path}") == "http://127.0.0.1:8080/{path}"
    assert check_link(_LINK) == _LINK
