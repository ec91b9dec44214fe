"""The page, which needs no other file than its own style and script; and the same page, saved with translations."""

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
PAGE, STYLE, SCRIPT = ((_HERE / name).read_text(encoding="utf-8") for name in ("index.html", "style.css", "script.js"))
LINKED_STYLE = '<link rel="stylesheet" href="style.css">'
LINKED_SCRIPT = '<script src="script.js"></script>'
TITLE = "Translate"


def saved_page(title: str, translations: Sequence[dict[str, Any]]) -> str:
    """Return the page as one file that shows translations.

    Args:
        title: of the page.
        translations: of each text its ``source``, its ``row`` as ``answers.translated`` makes it, and a ``summary``.

    Returns:
        HTML that may run its own script alone.
    """
    data = json.dumps(list(translations), ensure_ascii=False).replace("<", "\\u003c")  # no end of a script in it
    policy = f"default-src 'none'; style-src '{_digest(STYLE)}'; script-src '{_digest(SCRIPT)}'; img-src data:"
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>{STYLE}</style>'
    found = f'<script type="application/json" id="saved-translations">{data}</script>\n<script>{SCRIPT}</script>'
    page = PAGE.replace(f">{TITLE}<", f">{title}<").replace(LINKED_STYLE, head)
    return page.replace(LINKED_SCRIPT, found)


def _digest(text: str) -> str:
    """Return what a policy calls an inline text by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
