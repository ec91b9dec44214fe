"""The page, saved with translations."""

import base64
import hashlib
import re
from pathlib import Path

from bnb_fairseq.serving.page import PAGE, saved_page

from .saved import saved

HOSTILE = "</script><script>alert(1)</script><!--"


def test_a_page_that_needs_nothing_else(tmp_path: Path) -> None:
    row = {"text": HOSTILE, "tokens": [], "alignment": [], "alternatives": []}
    translations = [{"source": HOSTILE, "row": row, "summary": "1 pass."}]
    page = saved_page("A title", translations)
    (tmp_path / "a.html").write_text(page, encoding="utf-8")
    assert saved(tmp_path / "a.html") == translations
    assert page.count("</script>") == 2 and "alert" in page
    assert "<title>A title</title>" in page and "<h1>A title</h1>" in page
    assert not re.search(r'(src|href)="(?!docs|#text|data:,)', page)
    assert "url(" not in page and "@import" not in page


def test_only_its_own_script_may_run() -> None:
    page = saved_page("A", [])
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', page)
    for tag, name in (("style", "style-src"), ("script", "script-src")):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}'" in policy
    assert "unsafe" not in policy and "<style>" not in PAGE
