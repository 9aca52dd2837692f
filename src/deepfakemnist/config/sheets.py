"""Lines of the sample sheets, as models that validate and describe them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from deepfakemnist.config.base import Action
from deepfakemnist.ids import check_id

VideoId = Annotated[str, AfterValidator(check_id)]


class _SheetRow(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    path: str = Field(min_length=1, description="video file; a relative path starts at the sheet's folder")
    start_s: float | None = Field(None, ge=0, description="start of the wanted segment, seconds")
    end_s: float | None = Field(None, gt=0, description="end of the wanted segment, seconds")

    @model_validator(mode="after")
    def _forwards(self) -> _SheetRow:
        if self.end_s is not None and self.end_s <= (self.start_s or 0.0):
            raise ValueError(f"end_s {self.end_s} is not after start_s {self.start_s or 0.0}")
        return self


class SourceRow(_SheetRow):
    """One line of the source sheet: a real video."""

    video_id: VideoId = Field(description="unique; becomes a file name")
    person_id: VideoId | None = Field(None, description="who is seen; by default the video_id up to the first '#'")
    licence: str | None = Field(None, description="licence of the video, carried into the manifest")

    def to_row(self) -> dict[str, Any]:
        """Return the columns the ingest stage works on."""
        row = self.model_dump()
        row["person_id"] = self.person_id or self.video_id.split("#")[0] or self.video_id
        return {**row, "role": "source", "action": "", "adapter": "sheet"}


class DriverRow(_SheetRow):
    """One line of the driver sheet: a clip of a person performing an action."""

    driver_id: VideoId = Field(description="unique; becomes a file name")
    action: Action = Field(description="facial action performed")
    person_id: VideoId | None = Field(None, description="who performs; by default the driver_id")
    licence: str | None = Field(None, description="licence of the video")

    def to_row(self) -> dict[str, Any]:
        """Return the columns the ingest stage works on."""
        row = self.model_dump(exclude={"driver_id"})
        return {
            **row,
            "video_id": self.driver_id,
            "person_id": self.person_id or self.driver_id,
            "role": "driver",
            "adapter": "sheet",
        }
