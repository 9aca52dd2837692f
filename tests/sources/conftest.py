"""Session fixture with the synthetic VoxCeleb of :mod:`small_vox`."""

from __future__ import annotations

import pytest
from small_vox import SmallVox, make_vox


@pytest.fixture(scope="session")
def vox(tmp_path_factory: pytest.TempPathFactory) -> SmallVox:
    return make_vox(tmp_path_factory.mktemp("vox"))
