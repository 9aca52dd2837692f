"""Base class, value types and shared constants of the config models.

Few imports, because Snakemake loads the config models each time it parses the workflow, once per job.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
BaseUrl = Annotated[str, Field(pattern=r"^https?://[^/?#@\s]+(/[^?#@\s]*)?$")]
UrlPath = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._/-]+$")]

#: The ten facial actions of the paper (arXiv 2108.07949), in its order and with the names used here.
Action = Literal[
    "blink", "mouth", "yaw", "nod", "right_slope", "left_slope", "up", "smile", "surprise", "embarrassment"
]
ACTIONS: tuple[Action, ...] = get_args(Action)
SPLITS = ("train", "val", "test")
#: Name of the training set that contains every quality.
MIXED = "mixed"


class Settings(BaseModel):
    """Section of the config; immutable, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WeightFile(Settings):
    """Weight file, identified by its sha256."""

    path: Path
    sha256: Sha256
