"""JavaScript libraries that report pages carry, from installed packages: DataTables of itables, Vega of vl-convert."""

from __future__ import annotations

import base64
import gzip
import json
from functools import cache
from importlib.resources import files
from typing import Any

import vl_convert


def packed(text: str) -> str:
    """Return text as base64 of its gzip stream, the same for the same text; pages unpack it in the browser."""
    return base64.b64encode(gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0)).decode("ascii")


def packed_json(value: Any) -> str:
    """Return a value as packed JSON. Raises: ValueError for a number that JSON cannot hold."""
    return packed(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False))


@cache
def data_tables() -> tuple[str, str]:
    """Return DataTables as a packed JavaScript module whose default it is, and its style sheet, packed (0.3 MB)."""
    bundle = files("itables") / "html"
    script, style = (bundle.joinpath(f"dt_bundle.{suffix}").read_text(encoding="utf-8") for suffix in ("js", "css"))
    return packed(script), packed(style)


@cache
def vega() -> str:
    """Return vega, vega-lite and vega-embed as a packed script that defines ``vegaEmbed`` (0.4 MB)."""
    bundle: str = vl_convert.javascript_bundle(None)  # type: ignore[arg-type]
    return packed(bundle)
