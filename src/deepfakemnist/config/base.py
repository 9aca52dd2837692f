"""Base class, value types and shared names of the config models.

Light on imports, because Snakemake reads the config models whenever it parses the workflow, once per job.
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

#: The ten facial actions of the paper (arXiv 2108.07949), in its order and under our names.
Action = Literal[
    "blink", "mouth", "yaw", "nod", "right_slope", "left_slope", "up", "smile", "surprise", "embarrassment"
]
ACTIONS: tuple[Action, ...] = get_args(Action)
SPLITS = ("train", "val", "test")
#: Name of the training set that holds every quality.
MIXED = "mixed"


class Settings(BaseModel):
    """A part of the config: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WeightFile(Settings):
    """A file of weights that must be exactly the one meant."""

    path: Path
    sha256: Sha256
