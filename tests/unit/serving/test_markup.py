"""HTML whose texts are translated."""

import pytest

from bnb_fairseq.serving.markup import Markup


def capitals(page: str) -> str:
    markup = Markup(page)
    return markup.fill([text.upper() for text in markup.texts])


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("open", "OPEN"),
        ("", ""),
        (" a\n", " A\n"),
        ('<!DOCTYPE html><A HREF="x&amp;y">go</A >', '<!DOCTYPE html><A HREF="x&amp;y">GO</a>'),
        ("<p>a &lt;b&gt; &euml;</p>", "<p>A &lt;B&gt; Ë</p>"),
        ("a<br/>b<!-- c --><?d?>", "A<br/>B<!-- c --><?d?>"),
        ("<style>a{}</style><script>if (a<b) c()</script>", "<style>a{}</style><script>if (a<b) c()</script>"),
        ("<pre>a &amp; <b>c</b></pre>d <code>e</code>", "<pre>a &amp; <b>c</b></pre>D <code>e</code>"),
        ("a < b", "A &lt; B"),
        ("</p>a</code>b", "</p>A</code>B"),
    ],
)
def test_texts_between_tags(page: str, expected: str) -> None:
    assert capitals(page) == expected


def test_a_translation_brings_no_markup() -> None:
    markup = Markup("<p>a</p>")
    assert markup.fill(["<script>alert(1)</script> & more"]) == (
        "<p>&lt;script&gt;alert(1)&lt;/script&gt; &amp; more</p>"
    )


@pytest.mark.parametrize("part", ["<", "<!--", "<a ", "</", "&", "<![CDATA[", "<script>", "&#x", "<!", "<?"])
def test_broken_markup_takes_no_time(part: str) -> None:
    markup = Markup(part * 5000)
    markup.fill(["x"] * len(markup.texts))
