"""Shared fixtures: the optional folder of real clips, a browser, and a simulated bfloat16 fault."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have recorded as ``log``, so that it is in the output of CI although they passed."""
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties:
            if name == "log" and report.when == "call":
                terminalreporter.write_sep("-", f"{report.nodeid}")
                terminalreporter.write_line(str(text))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real/sources.tsv, real/drivers.tsv, real/videos and models; its tests are marked ``real``."""
    folder = os.environ.get("DEEPFAKEMNIST_REAL_DATA")
    if not folder:
        pytest.skip("DEEPFAKEMNIST_REAL_DATA names no folder of real clips")
    return Path(folder)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Chromium without a window; tests are skipped where it is not installed.

    Not for the whole session: Playwright keeps an event loop running, in which other tests could run none.
    """
    from browser import find_chromium, launch
    from playwright.sync_api import sync_playwright

    if not (program := find_chromium()):
        pytest.skip("no Chromium on PATH (.ci/install-chromium, as root on Debian)")
    with sync_playwright() as playwright, launch(playwright, program) as browser:
        yield browser


@pytest.fixture
def plant_bfloat16_fault(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make bfloat16 autocast convolutions of a given kernel size return wrong values, or fail."""
    import torch

    def plant(kernel: int, *, refused: bool = False) -> None:
        real = torch.nn.functional.conv2d

        def conv2d(x, weight, *rest, **named):
            out = real(x, weight, *rest, **named)
            if torch.is_autocast_enabled("cpu") and weight.shape[-1] == kernel:
                if refused:
                    raise RuntimeError("could not create a primitive")
                return out.flip(1)
            return out

        monkeypatch.setattr(torch.nn.functional, "conv2d", conv2d)

    return plant
