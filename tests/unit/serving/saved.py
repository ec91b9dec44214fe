"""Reading what a saved page shows."""

import json
import re
from pathlib import Path
from typing import Any


def saved(path: Path) -> list[dict[str, Any]]:
    """Return the translations of a saved page."""
    page = path.read_text(encoding="utf-8")
    (data,) = re.findall(r'<script type="application/json" id="saved-translations">(.*?)</script>', page, re.DOTALL)
    found: list[dict[str, Any]] = json.loads(data)
    return found
