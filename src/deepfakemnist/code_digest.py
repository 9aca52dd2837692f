"""Code digest of a stage's modules, so that an edit re-runs the affected rules and no others.

Snakemake tracks the script of a rule, not its imports; rules therefore take this digest as a parameter.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

_PACKAGE = "deepfakemnist"
_ROOT = Path(__file__).parent
#: Excluded: settings reach jobs as parameters, and a new description must not re-run a dataset.
_SETTINGS = f"{_PACKAGE}.config"


@cache
def code_digest(*modules: str) -> str:
    """Return the modules' names and 16 hex digits over their code and all package modules it imports, directly or not.

    Comments, docstrings and formatting do not count: the digest is computed from the syntax tree.
    """
    wanted, seen = [f"{_PACKAGE}.{module}" for module in modules], set[str]()
    while wanted:
        name = wanted.pop()
        if name not in seen and not _is_exempt(name):
            seen.add(name)
            wanted.extend(_imports(name))
    digest = hashlib.sha256()
    for name in sorted(seen):
        digest.update(f"{name}\0{ast.dump(_tree(name))}\0".encode())
    return f"{'+'.join(modules)} {digest.hexdigest()[:16]}"


def _is_exempt(module: str) -> bool:
    return module in (_PACKAGE, _SETTINGS) or module.startswith(f"{_SETTINGS}.")


def _file(module: str) -> Path | None:
    base = _ROOT.joinpath(*module.split(".")[1:])
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@cache
def _tree(module: str) -> ast.Module:
    path = _file(module)
    if path is None:
        raise ValueError(f"no module {module}")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node
        ):
            node.body[0] = ast.Pass()
    return tree


def _imports(module: str) -> set[str]:
    names = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] == _PACKAGE and _file(name) is not None}
