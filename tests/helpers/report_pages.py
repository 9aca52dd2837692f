"""What a page of the report holds: tables and chart data, also those that the browser would unpack."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
from pathlib import Path
from typing import Any


def tables(path: Path) -> dict[str, list[list[str]]]:
    """Return heading → header and rows of each table of a page."""
    found = {}
    for title, section in _sections(path):
        if '<table class="grid"' in section:
            lines = re.findall(r"<tr>(.*?)</tr>", section, flags=re.S)
            rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line, flags=re.S) for line in lines]
            found[title] = [[html.unescape(cell).strip() for cell in row] for row in rows]
            found[title] += _island(section) or []
    return found


def rows(path: Path) -> list[list[str]]:
    """Return the rows of all tables of a page, without headers."""
    return [row for table in tables(path).values() for row in table[1:]]


def charts(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return heading → data of each chart of a page."""
    return {title: _island(section)["rows"] for title, section in _sections(path) if "<figure data-file" in section}


def text(path: Path) -> str:
    """Return the words of a page, without those of tables that the browser unpacks."""
    body = re.sub(r"<(script|style).*?</\1>", " ", path.read_text(encoding="utf-8"), flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def _sections(path: Path) -> list[tuple[str, str]]:
    page = path.read_text(encoding="utf-8")
    sections = re.findall(r'<section id="[^"]*" class="part[^"]*">(.*?)</section>', page, flags=re.S)
    titles = [re.search(r"<h2>(.*?)</h2>", section, flags=re.S) for section in sections]
    return [
        (html.unescape(found[1]) if found else "", section) for found, section in zip(titles, sections, strict=True)
    ]


def _island(section: str) -> Any:
    found = re.search(r'class="island">([^<]+)<', section)
    return json.loads(gzip.decompress(base64.b64decode(found[1]))) if found else None
