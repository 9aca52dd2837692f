"""Markdown escaping of names and licences that others wrote: viewers render the HTML and the links in them."""

from __future__ import annotations

import re

_LINE_BREAKS = re.compile(r"\s*[\r\n\x0b\x0c\x85\u2028\u2029]\s*")
_MARKUP = re.compile(r"[\\`*|\[\]]")


def in_markdown(text: str) -> str:
    """Return a text as a paragraph or a table cell of GitHub-flavoured Markdown shows it: no HTML, no link."""
    text = _MARKUP.sub(r"\\\g<0>", _LINE_BREAKS.sub(" ", text))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
