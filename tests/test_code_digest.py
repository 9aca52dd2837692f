import pytest

from deepfakemnist import code_digest as module

STAGE = "from deepfakemnist.media import encode\nfrom deepfakemnist.config.stages import X\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "media/templates").mkdir(parents=True)
    (tmp_path / "config").mkdir()
    files = {
        "stage.py": STAGE,
        "media/__init__.py": "",
        "media/encode.py": "import deepfakemnist.media.pixels\n",
        "media/templates/page.html.j2": "<p>",
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
        clear()
        return module.code_digest("stage")

    yield digest_after
    clear()


def clear():
    """Forget what another process would not know."""
    for cached in (module.code_digest, module._module, module._file, module._templates):
        cached.cache_clear()


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


def test_editing_a_template_changes_the_digest_of_what_loads_it(package):
    before = package()
    assert package("media/templates/page.html.j2", "<b>") == before
    loading = package("media/pixels.py", 'PAGES = PackageLoader("deepfakemnist.media", "templates")\n')
    assert package("media/templates/page.html.j2", "<i>") != loading


def test_an_unknown_module_is_an_error():
    with pytest.raises(ValueError, match="no module deepfakemnist.nowhere"):
        module.code_digest("nowhere")


def test_facts_kept_in_a_file_give_the_same_digest_and_notice_an_edit(package, tmp_path, monkeypatch):
    """Also from a file that is damaged, or of other content."""
    before, path = package(), tmp_path / "kept/modules.json"
    for damage in (None, "", "[1]", '{"a": 1}', '{"a": [1, 2, 3]}'):
        monkeypatch.setattr(module, "_MEMORY", module._Memory())
        if isinstance(damage, str):
            path.write_text(damage)
        module.keep_facts_in(path)
        assert package() == before
    assert package("stage.py", "X = 1\n") != before
    assert package("stage.py", STAGE) == before
    monkeypatch.setattr(module, "_MEMORY", module._Memory())
    monkeypatch.setattr(module, "_facts_of", lambda source: pytest.fail("parsed although its facts are known"))
    module.keep_facts_in(path)
    assert package() == before
