"""What all tests share: the folder of real clips, where somebody has them."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real/sources.tsv, real/drivers.tsv, real/videos and models; tests on it are marked ``real``."""
    folder = os.environ.get("DEEPFAKEMNIST_REAL_DATA")
    if not folder:
        pytest.skip("DEEPFAKEMNIST_REAL_DATA names no folder of real clips")
    return Path(folder)
