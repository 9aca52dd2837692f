"""Base class, value types and shared constants of the config models.

Few imports, because Snakemake loads the config models each time it parses the workflow, once per job.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


def _encrypted_or_local(url: str) -> str:
    """Refuse http to another machine: keys and clips would pass every network on the way in plain text."""
    host = urlsplit(url).hostname or ""
    try:
        is_local = ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost"
    if not url.startswith("https://") and not is_local:
        raise ValueError(f"{url} must begin with https://, because keys are sent to it; http is for this machine only")
    return url


BaseUrl = Annotated[str, Field(pattern=r"^https?://[^/?#@\s]+(/[^?#@\s]*)?$"), AfterValidator(_encrypted_or_local)]
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


class MediaLimits(Settings):
    """Limits on video from outside; what exceeds one is rejected with reason over_limit."""

    pixels: PositiveInt = Field(
        35_651_584,
        description="pixels of a picture; the default is the largest of H.264 (level 6.2), 8192x4352: 8K",
    )
    frames: PositiveInt = Field(
        500_000, description="frames of a video; the default is more than 4 hours at 30 per second"
    )
    seconds: PositiveFloat = Field(14_400.0, description="length of a video, or of the segment that is read; 4 hours")
    memory_mb: Annotated[int, Field(ge=100)] = Field(
        1600,
        description="memory to decode a video in, megabytes; 8K with 16 reference frames takes 1270, 4K 380. Bounded "
        "by the operating system on Linux, not on macOS",
    )


class WeightFile(Settings):
    """Weight file, identified by its sha256."""

    path: Path
    sha256: Sha256
