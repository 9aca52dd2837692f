"""Redaction of API keys and tokens in everything that a vendor sends back, whatever the encoding of the echo."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Any

_BLANK = "***"
#: Shorter secrets would blank ordinary words; no vendor issues any.
_MIN_LENGTH = 4
_HTML_NAMES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"}


class Redactor:
    """Blanks secrets in text and in JSON values; one object serves a provider's client, ledger and vendor.

    Found as they are, percent-encoded (also repeatedly, and in part), as escapes of JSON, JavaScript and HTML, in
    base64 and in any case. A token stays on the list after it has expired.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: list[str] = []
        self._pattern: re.Pattern[str] | None = None
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """Blank another secret from now on."""
        if len(secret) < _MIN_LENGTH or secret in self._secrets:
            return
        # A secret that contains another is found first.
        self._secrets = sorted([*self._secrets, secret], key=len, reverse=True)
        self._pattern = re.compile("|".join(_pattern(one) for one in self._secrets), re.IGNORECASE)

    def text(self, value: str) -> str:
        """Return a text without secrets."""
        return self._pattern.sub(_BLANK, value) if self._pattern else value

    def json(self, value: Any) -> Any:
        """Return a JSON value without secrets, in names, texts and numbers at any depth."""
        if isinstance(value, dict):
            return {self.text(name): self.json(one) for name, one in value.items()}
        if isinstance(value, list):
            return [self.json(one) for one in value]
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, int | float) and str(value) in self._secrets:
            return _BLANK
        return value


def _pattern(secret: str) -> str:
    return "|".join(("".join(map(_encodings, secret)), *_base64_parts(secret)))


def _encodings(character: str) -> str:
    """Return a pattern of one character: itself, as an escape, or as its UTF-8 bytes percent-encoded."""
    code = ord(character)
    units = character.encode("utf-16-be")
    escapes = "".join(rf"\\+u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
    percent = "".join(rf"%(?:25)*{byte:02x}" for byte in character.encode())
    own = re.escape(character) if character.isalnum() else rf"\\*{re.escape(character)}"
    also = r"|\+" if character == " " else f"|{_HTML_NAMES[character]}" if character in _HTML_NAMES else ""
    short = rf"|\\+x{code:02x}" if code < 256 else ""
    return f"(?:{own}|{percent}|{escapes}{short}|&\\#0*{code};?|&\\#x0*{code:x};?{also})"


def _base64_parts(secret: str) -> list[str]:
    """Return patterns of the secret in base64 of a longer text: one per alignment, without the characters it shares."""
    data = secret.encode()
    found = []
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + data).decode().rstrip("=")
        start = -(-shift * 8 // 6)
        end = (shift + len(data)) * 8 // 6
        part = text[start:end]
        if len(part) >= 2 * _MIN_LENGTH:
            found.append("".join("[+-]" if one == "+" else "[/_]" if one == "/" else one for one in part))
    return found
