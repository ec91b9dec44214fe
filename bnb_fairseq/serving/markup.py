"""Texts of HTML: the text between tags is translated, all else stays as it is."""

from html import escape
from html.parser import HTMLParser

KEPT = frozenset({"script", "style", "code", "pre", "textarea"})  # whose text is no language


class Markup(HTMLParser):
    """HTML, taken apart.

    Args:
        text: the HTML.

    Attributes:
        texts: what is to be translated, without white space at its ends.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: list[str] = []
        self._parts: list[str | None] = []  # None: a text's place
        self._kept: list[str] = []  # open elements whose text stays
        self.feed(text)
        self.close()

    def fill(self, translations: list[str]) -> str:
        """The HTML with each text replaced by its translation."""
        found = iter(translations)
        return "".join(escape(next(found), quote=False) if part is None else part for part in self._parts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag as it stands."""
        self._parts.append(self.get_starttag_text() or "")
        if tag in KEPT:
            self._kept.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag that is its own end."""
        self._parts.append(self.get_starttag_text() or "")

    def handle_endtag(self, tag: str) -> None:
        """Keep the end of an element."""
        self._parts.append(f"</{tag}>")
        if tag in self._kept:
            self._kept.remove(tag)

    def handle_data(self, data: str) -> None:
        """Note a text; white space around it stays."""
        text = data.strip()
        if self._kept or not text:
            raw = self.cdata_elem is not None
            self._parts.append(data if raw else escape(data, quote=False))
            return
        begin = data.index(text)
        self.texts.append(text)
        self._parts += [data[:begin], None, data[begin + len(text) :]]

    def handle_comment(self, data: str) -> None:
        """Keep a comment."""
        self._parts.append(f"<!--{data}-->")

    def handle_decl(self, decl: str) -> None:
        """Keep a declaration, such as DOCTYPE."""
        self._parts.append(f"<!{decl}>")

    def unknown_decl(self, data: str) -> None:
        """Keep a marked section."""
        self._parts.append(f"<![{data}]>")

    def handle_pi(self, data: str) -> None:
        """Keep a processing instruction."""
        self._parts.append(f"<?{data}>")
