"""Chromium for tests of HTML pages: files are opened offline; a page that complains or asks a host for anything fails.

``.ci/install-chromium`` installs it on Debian.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Frame, Page, Playwright, Request

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
#: Addresses that need no host.
_LOCAL = re.compile(r"(file|data|blob|about):")
_PATIENCE_MS = 30_000
#: Violations of WCAG 2.2, levels A and AA.
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")


def find_chromium() -> str | None:
    """Return the program; None if there is none that starts: Ubuntu's package is a script that names a snap."""
    for path in filter(None, map(shutil.which, PROGRAMS)):
        if subprocess.run([path, "--version"], capture_output=True, check=False, timeout=60).returncode == 0:
            return path
    return None


def launch(playwright: Playwright, program: str) -> Browser:
    """Start Chromium without a window."""
    return playwright.chromium.launch(executable_path=program, args=["--no-first-run", "--disable-gpu"])


class OpenPage:
    """A page in a window of its own, and what was wrong with it so far."""

    def __init__(self, page: Page) -> None:
        self.page = page
        #: Errors on the console, exceptions, requests to hosts, requests that failed.
        self.complaints: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self._complain(f"exception: {error}"))
        page.on("requestfailed", self._failed)
        page.context.on("request", self._asked)

    def check(self) -> None:
        """Fail if the page has complained or asked for anything outside."""
        assert not self.complaints, "\n".join(self.complaints)

    def _complain(self, text: str) -> None:
        self.complaints.append(text[:500])

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._complain(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        if not _LOCAL.match(request.url):
            self._complain(f"request to a host: {request.url}")

    def _failed(self, request: Request) -> None:
        # A link that is saved instead of followed.
        if request.failure != "net::ERR_ABORTED":
            self._complain(f"request failed: {request.url[:200]}: {request.failure}")


@contextmanager
def opened(chromium: Browser, file: Path, width: int = 1400, scheme: str = "light") -> Iterator[OpenPage]:
    """Open a local file, and fail at the end if it has complained.

    Args:
        chromium: browser.
        file: HTML file.
        width: of the window, in pixels.
        scheme: light or dark, which the page is told that its reader prefers.
    """
    context: BrowserContext = chromium.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, accept_downloads=True
    )
    context.set_default_timeout(_PATIENCE_MS)
    try:
        found = OpenPage(context.new_page())
        found.page.goto(file.resolve().as_uri())
        yield found
        found.check()
    finally:
        context.close()


def wait_until_shown(frame: Frame | Page) -> None:
    """Wait until a page of the report has made its tables and charts."""
    frame.wait_for_function("document.documentElement.dataset.ready === 'yes'")


def accessibility(frame: Frame) -> list[str]:
    """Return what axe-core finds in one frame, a line per element: rule, what is wrong, where."""
    if not frame.evaluate("typeof axe === 'object'"):
        frame.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    options = {"runOnly": {"type": "tag", "values": list(RULES)}, "resultTypes": ["violations"], "iframes": False}
    found = frame.evaluate("options => axe.run(document, options)", options)
    return [
        f"{rule['id']}: {' '.join(node['failureSummary'].split())[:300]} — {' '.join(map(str, node['target']))}: "
        f"{node['html'][:120]}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


_WIDER = """() => {
  const edge = document.documentElement.clientWidth, found = [];
  const scroller = element => {
    for (let one = element.parentElement; one; one = one.parentElement)
      if (getComputedStyle(one).overflowX !== "visible" && one !== document.body && one !== document.documentElement)
        return one;
    return null;
  };
  const name = element => element.tagName.toLowerCase() + (element.id && "#" + element.id)
    + (element.getAttribute("class") ? "." + element.getAttribute("class").split(" ").join(".") : "")
    + " «" + (element.textContent || "").trim().slice(0, 40) + "»";
  for (const element of document.body.querySelectorAll("*")) {
    const {right, width} = element.getBoundingClientRect();
    if (width && right + scrollX > edge + 1 && !scroller(element))
      found.push(["element", name(element), Math.round(right + scrollX - edge)]);
    if (element.tagName === "TABLE") {
      const room = scroller(element)?.clientWidth ?? edge;
      if (element.scrollWidth > room + 1) found.push(["table", name(element), element.scrollWidth - room]);
    }
  }
  const beyond = document.documentElement.scrollWidth - edge;
  if (beyond > 1) found.push(["page", "page", beyond]);
  return found;
}"""


def cut_off(frame: Frame | Page, tables: bool = True) -> list[str]:
    """Return what is wider than the window, with the pixels that are too many.

    Args:
        frame: page or frame.
        tables: whether a table counts that its own box scrolls; otherwise only what makes the whole page scroll.
    """
    return [
        f"{name} is {too_many} px too wide"
        for kind, name, too_many in frame.evaluate(_WIDER)
        if kind != "table" or tables
    ]
