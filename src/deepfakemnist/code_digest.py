"""Code digest of a stage's modules, so that an edit re-runs the affected rules and no others.

Snakemake tracks the script of a rule, not its imports; rules therefore take this digest as a parameter.
"""

import ast
import hashlib
import json
import os
import sys
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

_PACKAGE = "deepfakemnist"
_ROOT = Path(__file__).parent
#: Excluded: settings reach jobs as parameters, and a new description must not re-run a dataset.
_SETTINGS = f"{_PACKAGE}.config"


class _Facts(NamedTuple):
    """What of a module's code counts."""

    digest: str
    #: Modules and names that it imports from the package, as MODULE and MODULE.NAME.
    imported: list[str]


class _Memory:
    """Facts of modules by the sha256 of their file: parsing all modules takes a second, and each job would do it."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._known: dict[str, _Facts] = {}
        self._has_new = False

    def keep_in(self, path: Path) -> None:
        self._path = path
        with suppress(OSError, ValueError, TypeError, AttributeError):  # missing or damaged: it is made again
            content = json.loads(path.read_text(encoding="utf-8"))
            self._known |= {key: _Facts(str(digest), list(map(str, names))) for key, (digest, names) in content.items()}

    def facts(self, module: str) -> _Facts:
        path = _file(module)
        if path is None:
            raise ValueError(f"no module {module}")
        source = path.read_bytes()
        # The syntax tree is another in each version of Python.
        key = f"{hashlib.sha256(source).hexdigest()} {sys.version_info[:2]}"
        if key not in self._known:
            self._known[key] = _facts_of(source)
            self._has_new = True
        return self._known[key]

    def write(self) -> None:
        if self._path is None or not self._has_new:
            return
        self._has_new = False
        part = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(self._known), encoding="utf-8")
            part.replace(self._path)
        except OSError:
            part.unlink(missing_ok=True)  # a user who may not write parses again


_MEMORY = _Memory()


def keep_facts_in(path: Path) -> None:
    """Keep what was found in the package's modules in a file, for the next process."""
    _MEMORY.keep_in(path)


@cache
def code_digest(*modules: str) -> str:
    """Return the modules' names and 16 hex digits over their code and all package modules it imports, directly or not.

    Comments, docstrings and formatting do not count: the digest is computed from the syntax tree. Templates count for
    the modules that load them.
    """
    wanted, seen = [f"{_PACKAGE}.{module}" for module in modules], dict[str, str]()
    while wanted:
        name = wanted.pop()
        if name not in seen and not _is_exempt(name):
            digest, imported = _module(name)
            seen[name] = digest + _templates(name)
            wanted.extend(other for other in imported if _file(other) is not None)
    _MEMORY.write()
    text = "".join(f"{name}\0{seen[name]}\0" for name in sorted(seen))
    return f"{'+'.join(modules)} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


@cache
def foreign_digest(module: str) -> str:
    """Return the name of a module of another package, and 16 hex digits over all Python files of that package.

    Settings of a plug-in are in it too: they are not told apart from its other code.
    """
    package = module.split(".")[0]
    found = find_spec(package)
    folders = list(found.submodule_search_locations or []) if found else []
    files = sorted(path for folder in folders for path in Path(folder).rglob("*.py"))
    if found is not None and not folders and found.origin:
        files = [Path(found.origin)]
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return f"{module} {digest.hexdigest()[:16]}"


def _is_exempt(module: str) -> bool:
    return module in (_PACKAGE, _SETTINGS) or module.startswith(f"{_SETTINGS}.")


@cache
def _file(module: str) -> Path | None:
    base = _ROOT.joinpath(*module.split(".")[1:])
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@cache
def _module(name: str) -> _Facts:
    return _MEMORY.facts(name)


@cache
def _templates(name: str) -> str:
    """Return a digest of the templates that a module loads; an empty text for most, which load none."""
    path = _file(name)
    folder = path.with_name("templates") if path else None
    if path is None or folder is None or not folder.is_dir() or b"PackageLoader(" not in path.read_bytes():
        return ""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        digest.update(f"{file.name}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _facts_of(source: bytes) -> _Facts:
    tree = ast.parse(source)
    names = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node
        ):
            node.body[0] = ast.Pass()
    digest = hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]
    return _Facts(digest, sorted(name for name in names if name.split(".")[0] == _PACKAGE))
