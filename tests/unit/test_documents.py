"""Markdown files: links lead to a file and to a heading in it; source files that are named exist."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..conftest import ROOT

FENCE = re.compile(r"^```.*?^```$", flags=re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", flags=re.MULTILINE)
README_LINES = 120
PAGES = sorted(path for place in ("*.md", "docs/**/*.md", "examples/**/*.md") for path in ROOT.glob(place))


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in HEADING.findall(FENCE.sub("", text)):
        shown = LINK.sub(lambda link: link[0][1 : link[0].index("]")], heading).lower()
        name = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        found.add(name if not seen[name] else f"{name}-{seen[name]}")
        seen[name] += 1
    return found


def links(text: str) -> Iterator[str]:
    """Yield the relative links of a page, pictures too; code holds none."""
    for target in LINK.findall(CODE.sub("", FENCE.sub("", text))):
        if not re.match(r"\w+:", target):
            yield target


def broken(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere."""
    found = []
    for target in links(page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        if not path.exists() or (anchor and anchor not in anchors(path.read_text(encoding="utf-8"))):
            found.append(target)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    other = "# A `b_c`, and d\n\n## Same\n\n```\n# none\n```\n\n## Same\n"
    (tmp_path / "other.md").write_text(other, encoding="utf-8")
    assert anchors(other) == {"a-b_c-and-d", "same", "same-1"}
    good = "[x](other.md) [y](other.md#same-1) [z](other.md#a-b_c-and-d) [w](https://a.b/c) [v](#top)\n# Top\n"
    wrong = "[x](no.md) ![p](no.png) [y](other.md#none) [z](#same)\n`[c](code.md)`\n"
    (tmp_path / "page.md").write_text(good + wrong, encoding="utf-8")
    assert broken(tmp_path / "page.md") == ["no.md", "no.png", "other.md#none", "#same"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_source_files_exist(page: Path) -> None:
    named = re.findall(r"`((?:[\w-]+/)+[a-z_]+\.(?:py|sh))`", page.read_text(encoding="utf-8"))
    assert [name for name in named if not any((place / name).exists() for place in (ROOT, ROOT / "bnb_fairseq"))] == []


def test_index_lists_every_result() -> None:
    index = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    written = sorted(path.name for path in (ROOT / "docs" / "results").glob("*.md"))
    assert len(written) >= 10
    assert sorted(re.findall(r"\(results/([\w-]+\.md)\)", index)) == written


def test_results_are_sorted_newest_first_and_name_their_commit() -> None:
    index = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    rows = re.findall(r"\(results/([\w-]+\.md)\).*\| (\d{4}-\d\d-\d\d), (\w{7}) \|", index)
    assert [date for _, date, _ in rows] == sorted((date for _, date, _ in rows), reverse=True)
    for name, date, commit in rows:
        head = (ROOT / "docs" / "results" / name).read_text(encoding="utf-8")[:400]
        assert date in head, name
        assert commit in head, name


def test_readme_is_short() -> None:
    assert len(PAGES) > 30, "pages are missing from these tests"
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES
