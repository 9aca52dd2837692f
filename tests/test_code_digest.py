import pytest

from deepfakemnist import code_digest as module


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "media").mkdir()
    (tmp_path / "config").mkdir()
    files = {
        "stage.py": "from deepfakemnist.media import encode\nfrom deepfakemnist.config.stages import X\n",
        "media/__init__.py": "",
        "media/encode.py": "import deepfakemnist.media.pixels\n",
        "media/pixels.py": 'def hash():\n    """Old words."""\n    return 2\n',
        "config/__init__.py": "",
        "config/stages.py": "X = 1\n",
        "other.py": "Y = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(module, "_ROOT", tmp_path)

    def digest_after(name=None, text=""):
        if name:
            (tmp_path / name).write_text(text)
        module.code_digest.cache_clear()
        module._tree.cache_clear()
        return module.code_digest("stage")

    yield digest_after
    module.code_digest.cache_clear()
    module._tree.cache_clear()


def test_editing_an_indirect_import_changes_the_digest(package):
    before = package()
    assert package("media/pixels.py", "def hash():\n    return 3\n") != before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("media/pixels.py", 'def hash():\n    """New words."""\n    # and a comment\n    return 2\n'),
        ("other.py", "Y = 2\n"),
        ("config/stages.py", "X = 2\n"),
    ],
)
def test_editing_docstrings_other_modules_or_settings_does_not(package, name, text):
    before = package()
    assert package(name, text) == before


def test_an_unknown_module_is_an_error():
    with pytest.raises(ValueError, match="no module deepfakemnist.nowhere"):
        module.code_digest("nowhere")
