"""JSON Schema generation for the config and the sample sheets, from the models that validate them.

    python -m deepfakemnist.config.schemas workflow/schemas config/animators.md

Editors use the schemas for completion and validation; a test fails when they drift from the models. The second argument
is the page with the settings of animators.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from deepfakemnist.config.animators.registry import BUILT_IN
from deepfakemnist.config.load import Config
from deepfakemnist.config.settings_page import page
from deepfakemnist.config.sheets import DriverRow, SourceRow

_MODELS: dict[str, type[BaseModel]] = {"config": Config, "sources": SourceRow, "drivers": DriverRow}


def schema_text(name: str) -> str:
    """Return the JSON Schema (draft 2020-12) named ``config``, ``sources`` or ``drivers``."""
    schema: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema.update(_MODELS[name].model_json_schema())
    if name == "config":
        one = schema["properties"]["animators"]["items"]
        schema["properties"]["animator"] = {**one, "description": "short for animators with one entry"}
        schema["properties"]["animators"] = {"anyOf": [schema["properties"]["animators"], {"type": "null"}]}
    return json.dumps(schema, indent=2) + "\n"


def write_schemas(folder: Path) -> list[Path]:
    """Write every schema to ``folder`` and return the files."""
    paths = [folder / f"{name}.schema.json" for name in _MODELS]
    for name, path in zip(_MODELS, paths, strict=True):
        path.write_text(schema_text(name), encoding="utf-8")
    return paths


if __name__ == "__main__":
    for written in write_schemas(Path(sys.argv[1])):
        print(written)
    for named in map(Path, sys.argv[2:]):
        named.write_text(page(BUILT_IN), encoding="utf-8")
        print(named)
