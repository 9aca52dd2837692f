"""A report of Snakemake in a browser, as its readers use it: menu, search, and the pages that it shows in a frame."""

from __future__ import annotations

from collections.abc import Iterator

from browser import OpenPage, wait_until_shown
from playwright.sync_api import Frame, Locator, Page


class SnakemakeReport:
    """An opened report."""

    def __init__(self, found: OpenPage) -> None:
        self.page: Page = found.page

    @property
    def kinds(self) -> dict[str, str]:
        """Result → MIME type, of all results."""
        return self.page.evaluate("Object.fromEntries(Object.keys(results).map(one => [one, results[one].mime_type]))")

    @property
    def path(self) -> str:
        """Result that is shown."""
        return self.page.evaluate("app.state.resultPath ?? ''")

    def frame(self) -> Frame:
        """Return the page that is shown, when it has made its tables and charts."""
        handle = self.page.locator("#app iframe").element_handle()
        frame = handle.content_frame()
        assert frame is not None
        wait_until_shown(frame)
        return frame

    def home(self) -> None:
        """Go back to the menu, which a narrow window hides while a page is shown, and to the page that opens first."""
        self._show_menu()
        before = self._drawn()
        self.page.locator("nav nav a").first.click()
        self.page.wait_for_function(
            "before => app.state.content === 'html' && app.state.renderTrigger !== before", arg=before
        )
        self._show_menu()

    def _drawn(self) -> float | None:
        """Return a number that is another after each change of what is shown."""
        return self.page.evaluate("app.state.renderTrigger ?? null")

    def _show_menu(self) -> None:
        if self.page.evaluate("app.state.hideNavbar"):
            self.page.locator("#app a[type=button]").first.click()

    def visit(self) -> Iterator[str]:
        """Open every result that can be shown through the menu, and yield it."""
        categories: dict[str, dict[str, list[str]]] = self.page.evaluate("categories")
        for category, parts in categories.items():
            for part in parts:
                self.home()
                before = self._drawn()
                self._entry(category).click()
                if len(parts) > 1:
                    self._entry(part).click()
                self.page.wait_for_function(
                    "before => app.state.navbarMode !== 'menu' || app.state.renderTrigger !== before", arg=before
                )
                if self._drawn() != before:
                    # Its only page needs no list.
                    yield self.path
                    continue
                for row in self.page.locator("nav tbody tr").all():
                    if self.open(row):
                        yield self.path

    def open(self, row: Locator) -> bool:
        """Open the result of a row of the menu; return whether it is shown, and not saved."""
        button = row.locator("td:last-child a").first
        if is_shown := button.get_attribute("download") is None:
            self._show_menu()
            before = self._drawn()
            button.click()
            self.page.wait_for_function("before => app.state.renderTrigger !== before", arg=before)
        return is_shown

    def search(self, term: str) -> Locator:
        """Search results, and return the rows that are found."""
        box = self.page.get_by_placeholder("Search...")
        box.fill(term)
        box.press("Enter")
        return self.page.locator("nav tbody tr")

    def _entry(self, name: str) -> Locator:
        return self.page.locator("nav li a").filter(has=self.page.get_by_text(name, exact=True))
