"""A page, read back."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """The tables of a page as rows of cells; a cell is its tag, its attributes and its text."""

    VOID = ("meta",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[tuple[str, list[list[tuple[str, dict[str, str | None], str]]]]] = []
        self.open: list[str] = []
        self.seen: dict[str, list[str]] = {}
        self.attributes: list[tuple[str, str, str | None]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)
        self.seen.setdefault(tag, []).append("")
        if tag == "table":
            self.tables.append((str(dict(attrs)["class"]), []))
        elif tag == "tr":
            self.tables[-1][1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][1][-1].append((tag, dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.seen[self.open[-1]][-1] += data
        if {"td", "th"} & set(self.open):
            tag, attributes, text = self.tables[-1][1][-1][-1]
            self.tables[-1][1][-1][-1] = (tag, attributes, text + data)
