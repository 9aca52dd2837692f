"""Sample sheet rows of sources and drivers, as pydantic models."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from deepfakemnist.config.base import Action
from deepfakemnist.ids import CONTROL_CHARACTERS, check_id

VideoId = Annotated[str, AfterValidator(check_id)]
#: Seconds into a video: up to 11 days, longer than any video and short enough for the clock of every container.
Seconds = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]


def _check_path(value: str) -> str:
    if CONTROL_CHARACTERS.search(value):
        raise ValueError("a path must not contain control characters; rename the file")
    return value


class _SheetRow(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    path: Annotated[str, AfterValidator(_check_path)] = Field(
        min_length=1, description="video file; relative paths start at the sheet's folder"
    )
    start_s: Seconds | None = Field(None, description="start of the segment, seconds; default: start of the video")
    end_s: Seconds | None = Field(None, description="end of the segment, seconds; default: end of the video")

    @model_validator(mode="after")
    def _end_after_start(self) -> _SheetRow:
        if self.end_s is not None and self.end_s <= (self.start_s or 0.0):
            raise ValueError(f"end_s {self.end_s} is not after start_s {self.start_s or 0.0}")
        return self


class SourceRow(_SheetRow):
    """Row of the source sheet: a real video."""

    video_id: VideoId = Field(description="unique id, used as file name")
    person_id: VideoId | None = Field(None, description="person shown; default: video_id up to the first '#'")
    licence: str | None = Field(None, description="licence of the video, for captions.parquet and releases")

    def to_row(self) -> dict[str, Any]:
        """Return the input row of the ingest stage."""
        row = self.model_dump()
        row["person_id"] = self.person_id or self.video_id.split("#")[0] or self.video_id
        return {**row, "role": "source", "action": "", "adapter": "sheet"}


class DriverRow(_SheetRow):
    """Row of the driver sheet: a clip of a person performing an action."""

    driver_id: VideoId = Field(description="unique id, used as file name")
    action: Action = Field(description="facial action performed")
    person_id: VideoId | None = Field(None, description="person performing; default: driver_id")
    licence: str | None = Field(None, description="licence of the video")

    def to_row(self) -> dict[str, Any]:
        """Return the input row of the ingest stage."""
        row = self.model_dump(exclude={"driver_id"})
        return {
            **row,
            "video_id": self.driver_id,
            "person_id": self.person_id or self.driver_id,
            "role": "driver",
            "adapter": "sheet",
        }
