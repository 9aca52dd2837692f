import importlib.util

import pytest

from deepfakemnist.actors.bake import main
from deepfakemnist.errors import ConfigError


@pytest.mark.skipif(importlib.util.find_spec("anny") is not None, reason="anny is installed")
def test_baking_without_anny_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["bake", str(tmp_path / "bank.npz")])
    with pytest.raises(ConfigError, match=r"baking needs the package anny \(pip install anny==0\.6\.2\)"):
        main()
    assert not list(tmp_path.iterdir())
