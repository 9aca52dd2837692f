"""Shared fixtures: the optional folder of real clips, and a simulated bfloat16 fault."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest


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
