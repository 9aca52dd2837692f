"""Source loading: the configured adapter, then exclusion list and candidate sampling."""

from __future__ import annotations

from deepfakemnist.config.sheets import SourceRow
from deepfakemnist.config.stages import SourceSettings
from deepfakemnist.sources.candidates import choose_candidates
from deepfakemnist.sources.exclusions import without_excluded
from deepfakemnist.sources.folder import read_folder
from deepfakemnist.sources.sheets import Sheet, read_sheet
from deepfakemnist.sources.vox_metadata import read_vox_metadata
from deepfakemnist.sources.voxceleb1 import read_voxceleb1


def read_sources(settings: SourceSettings, seed: int = 0) -> Sheet:
    """Return the source rows of a run from the configured adapter.

    Excluded and unsampled videos become refused rows. Raises ConfigError with file, line, value and rule.
    """
    sheet = _read(settings)
    if settings.exclude:
        sheet = without_excluded(sheet, settings.exclude)
    if settings.select and settings.select.candidates:
        sheet = choose_candidates(sheet, settings.select, seed)
    return sheet


def _read(settings: SourceSettings) -> Sheet:
    if settings.vox_metadata is not None:
        return read_vox_metadata(settings.vox_metadata.csv, settings.vox_metadata.videos)
    if settings.voxceleb1 is not None:
        return read_voxceleb1(settings.voxceleb1.txt, settings.voxceleb1.videos)
    if settings.folder is not None:
        return read_folder(settings.folder, settings.pattern, settings.person_from, settings.cropped)
    assert settings.sheet is not None  # SourceSettings requires exactly one
    sheet = read_sheet(settings.sheet, SourceRow, keep_going=settings.on_bad_row == "row")
    for row in sheet.rows:
        row["cropped"] = settings.cropped
    return sheet
