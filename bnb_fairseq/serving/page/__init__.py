"""The page, which needs no other file than its own style and script."""

from pathlib import Path

_HERE = Path(__file__).parent
PAGE, STYLE, SCRIPT = ((_HERE / name).read_text(encoding="utf-8") for name in ("index.html", "style.css", "script.js"))
