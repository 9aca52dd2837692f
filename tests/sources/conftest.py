"""The small VoxCeleb of :mod:`small_vox`, made once."""

from __future__ import annotations

import pytest
from small_vox import World, make_vox


@pytest.fixture(scope="session")
def vox(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_vox(tmp_path_factory.mktemp("vox"))
