"""Disk space that a run needs, stage by stage: from what its finished shards take, else from typical clips.

A clip is expected to be as long as a sample of the run's own videos says, and to take what :mod:`.typical_sizes` says.
How many bytes a picture takes depends on what it shows, so a stage of which a few videos are done counts by them.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import NamedTuple, TypeVar

from deepfakemnist.config.liveness import VendorSettings
from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.media.container import open_video
from deepfakemnist.tables.checksums import DamagedTable
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import OK, Row
from deepfakemnist.workflow import typical_sizes
from deepfakemnist.workflow.run_plan import ROLES, RunPlan

#: Tables read of a stage, and videos of which the length is read, evenly spaced over the run.
_SAMPLED = 24
#: Rows from which on a stage is predicted from itself.
_ENOUGH = 6
_PAIRS = 2000
#: Files below the results that are no clips: table, journal, lock, log and times of a job, at up to ten stages a shard.
_FILES_OF_A_SHARD = 45
#: Checkpoint, predictions, history, card and the like.
_FILES_OF_A_DETECTOR = 6

_T = TypeVar("_T")


class StageNeed(NamedTuple):
    """What a stage needs in all, and how much of that is there; bytes, and number of files."""

    stage: str
    files: int
    bytes: int
    there: int
    #: Predicted from the stage's own results.
    measured: bool

    @property
    def missing(self) -> int:
        """Bytes to come."""
        return max(self.bytes - self.there, 0)


@dataclass(frozen=True)
class _Done:
    """What a sample of a stage's finished tables says."""

    tables: int
    """Number of finished tables."""
    rows: float
    """Rows of a table."""
    ok: float
    """Fraction of rows with a file."""
    size: float
    """Bytes of such a file."""
    frames: list[int]
    """Frames of the sampled ones."""

    @property
    def enough(self) -> bool:
        return len(self.frames) >= _ENOUGH

    @property
    def there(self) -> float:
        return self.tables * self.rows * self.ok * self.size


def predict(plan: RunPlan, results: Path) -> list[StageNeed]:
    """Return what every stage that stores clips, frames or weights needs, in the order of the workflow.

    Takes the time of reading 24 tables per stage and as many headers of videos.

    Args:
        plan: the run's plan.
        results: folder of its results, empty or not.
    """
    return list(_Prediction(plan, results).stages())


class _Prediction:
    def __init__(self, plan: RunPlan, results: Path) -> None:
        self.plan, self.config, self.results = plan, plan.config, results
        self.area = (self.config.crop.size / 256) ** 2
        self.crops = "candidates" if self.config.sources.select else "crop"
        self._known: dict[str, _Done | None] = {}

    def stages(self) -> Iterator[StageNeed]:
        if self.plan.released:
            clips = self._lengths("source", "import_released/real")
        else:
            lengths = {role: self._lengths(role, f"{self.crops}/{role}") for role in ROLES}
            for role in ROLES:
                crop = _mean(lengths[role]) * typical_sizes.CROP * self.area
                yield self._clips(f"{self.crops}/{role}", self.plan.count(role), crop)
            driver = _mean(lengths["driver"])
            names = [one.name for one in self.config.animators if one.renders_here]
            motion = driver * _mean([typical_sizes.motion_bytes(name) for name in names])
            yield self._clips("extract_motion", self.plan.count("driver") * len(names), motion)
            yield self._clips("animate", self.candidates, driver * typical_sizes.ANIMATION * self.area)
            clips = self._trimmed(lengths["source"], lengths["driver"])
        kinds = {"real": self._reals(), "fake": self._fakes()}
        for kind, count in kinds.items():
            yield self._encoded(kind, count, _mean(clips))
        for kind, count in kinds.items():
            yield self._frames(kind, count, clips)
        yield from self._others()

    @property
    def candidates(self) -> float:
        """Number of fakes to animate."""
        plan = self.config.plan
        known = float(sum(part.fakes for part in self.plan.first_round.parts.values()))
        if not self.plan.rounds or plan.quota is None:
            return known
        return max(known, self._wanted() / max(self._pass_rate(), 1e-3))

    def _pass_rate(self) -> float:
        """Return the fraction of candidates that pass liveness and quality gate."""
        done = self._done("select", size_of=lambda path: 0)
        return done.ok if done and done.tables * done.rows >= _ENOUGH else self.config.plan.expected_pass_rate

    def _reals(self) -> float:
        crops = None if self.plan.released else self._done("crop/source")
        return self.plan.count("source") * (crops.ok if crops and crops.enough else 1.0)

    def _fakes(self) -> float:
        if self.plan.released:
            return float(self.plan.count("fake"))
        plan = self.config.plan
        accepted = self.candidates * self._pass_rate()
        return accepted if plan.quota is None else min(accepted, float(self._wanted()))

    def _wanted(self) -> int:
        """Return the number of fakes that the quotas keep."""
        return sum((self.plan.quotas or {}).values()) * len(self.config.plan.actions)

    def _clips(self, stage: str, count: float, typical: float) -> StageNeed:
        """Return the need of a stage with a file per row, of ``typical`` bytes before any is there."""
        done = self._done(stage)
        if done and done.enough:
            count, typical = count * done.ok, done.size
        return self._need(stage, count, count * typical, done)

    def _encoded(self, kind: str, count: float, frames: float) -> StageNeed:
        stage, qualities = f"compress/{kind}", self.config.compress.qualities
        done, files = self._done(stage), count * len(qualities)
        if done and done.enough:
            return self._need(stage, files, files * done.size, done)
        beside = typical_sizes.CONTAINER + (typical_sizes.MARKS if kind == "fake" else 0)
        clip = sum(frames * typical_sizes.frame_bytes(one) * self.area + beside for one in qualities.values())
        return self._need(stage, files, count * clip, done)

    def _frames(self, kind: str, count: float, clips: Sequence[float]) -> StageNeed:
        """Return the need of stored frames, which lie in the tables themselves."""
        stage, settings, qualities = f"frames/{kind}", self.config.frames, self.config.compress.qualities
        tables = sorted((self.results / stage).glob("*.parquet"))
        sample = _spread(tables)
        rows = sum(len(_ok_rows(self.results / "compress" / kind / path.name, ["status"])) for path in sample)
        size = sum(path.stat().st_size for path in sample)
        done = _Done(len(tables), 1.0, 1.0, size / len(sample), [0] * rows) if sample else None
        files = float(self._tables_of(stage))
        if done and done.enough:
            return self._need(stage, files, count * len(qualities) * size / rows, done)
        kept = _mean([one if settings.policy == "all" else min(one, settings.per_clip) for one in clips])
        clip = sum(kept * typical_sizes.webp_bytes(one) * self.area for one in qualities.values())
        if settings.png:
            files, clip = files + count * len(qualities) * kept, 2 * clip
        return self._need(stage, files, count * clip, done)

    def _others(self) -> Iterator[StageNeed]:
        training = self.config.training
        found: dict[str, list[int]] = defaultdict(list)
        for path in (self.results / "detectors").glob("*/*/*/checkpoint.safetensors"):
            found[path.parents[2].name].append(path.stat().st_size)
        each = len(self.config.training_sets) * len(training.seeds)
        names = {one.label or one.name: one.name for one in training.detectors}
        total = sum(
            each * fmean(found[label] or [typical_sizes.checkpoint_bytes(name)]) for label, name in names.items()
        )
        there, all_known = sum(sum(sizes) for sizes in found.values()), all(found[label] for label in names)
        files = _FILES_OF_A_DETECTOR * each * len(names)
        yield StageNeed("detectors", files, round(max(total, there)), there, all_known)
        candidates = 0.0 if self.plan.released else self.candidates
        shards = len(self.plan.shards("source"))
        tables = (self.plan.count("source") + candidates) * typical_sizes.TABLES
        yield StageNeed("tables, journals, logs", _FILES_OF_A_SHARD * shards, round(tables), 0, False)
        vendors = [one for one in self.config.liveness.providers if isinstance(one, VendorSettings)]
        if vendors and candidates:
            asked = round(candidates * len(vendors))
            yield StageNeed("liveness_answers", asked, asked * typical_sizes.ANSWER, 0, False)

    def _need(self, stage: str, files: float, total: float, done: _Done | None) -> StageNeed:
        """Return the need of a stage; with all its tables there, it is what they take."""
        there = done.there if done else 0.0
        # Which rounds follow is not known here.
        may_grow = self.plan.rounds and stage.split("/")[-1] in ("animate", "fake")
        if done and done.tables >= self._tables_of(stage) and not may_grow:
            total = there
        return StageNeed(stage, round(files), round(max(total, there)), round(there), bool(done and done.enough))

    def _tables_of(self, stage: str) -> int:
        """Return how many tables a stage will have, without those of later rounds."""
        first, _, group = stage.partition("/")
        if group == "driver" or first == "extract_motion":
            return len(self.plan.shards("driver"))
        if group in ("source", "real"):
            return len(self.plan.shards("source"))
        return len(self.plan.fake_shards())

    def _lengths(self, role: str, stage: str) -> list[float]:
        """Return the frames of a sample of a role's clips: cropped, else as ingest read them, else by headers."""
        done = self._done(stage)
        if done and done.enough:
            return [float(frames) for frames in done.frames]
        most = float(self.config.crop.max_frames)
        if role == "source" and self.config.used_source_frames is not None:
            most = min(most, self.config.used_source_frames)
        seconds = self._seconds(role) or [typical_sizes.SECONDS]
        return [min(one * self.config.crop.fps, most) for one in seconds]

    def _seconds(self, role: str) -> list[float]:
        tables = _spread(sorted((self.results / "ingest" / role).glob("*.parquet")))
        read = [row["duration_s"] for path in tables for row in _ok_rows(path, ["status", "duration_s"])]
        if len(read) >= _ENOUGH:
            return read
        rows = [row for shard in _spread(self.plan.shards(role)) for row in self.plan.rows(role, shard)]
        return [seconds for row in _spread(rows) if (seconds := _seconds_of(row)) is not None]

    def _trimmed(self, sources: Sequence[float], drivers: Sequence[float]) -> list[float]:
        """Return the frames of encoded clips: those of a source and its fakes are equal, see media.lengths."""
        draw, fakes = random.Random(0), self.config.plan.actions_per_source
        if self.config.compress.length == "pair":
            lengths = [min(draw.choice(sources), *draw.choices(drivers, k=fakes)) for _ in range(_PAIRS)]
        else:
            lengths = [*sources, *drivers]
        most = self.config.compress.max_frames
        return lengths if most is None else [min(one, most) for one in lengths]

    def _done(self, stage: str, size_of: Callable[[Path], int] | None = None) -> _Done | None:
        if stage not in self._known:
            self._known[stage] = _sample(sorted((self.results / stage).glob("*.parquet")), size_of or _size_of)
        return self._known[stage]


def _sample(tables: Sequence[Path], size_of: Callable[[Path], int]) -> _Done | None:
    """Return what the tables say, or some of them; None if none can be read."""
    read = [rows for path in _spread(tables) if (rows := _rows(path, ["status", "path", "frames"]))]
    rows = [row for one in read for row in one]
    if not rows:
        return None
    ok = [row for row in rows if row["status"] == OK and row["path"]]
    size = _mean([size_of(Path(row["path"])) for row in ok])
    frames = [row["frames"] for row in ok if row["frames"]]
    return _Done(len(tables), len(rows) / len(read), len(ok) / len(rows), size, frames)


def _ok_rows(table: Path, columns: Sequence[str]) -> list[Row]:
    return [row for row in _rows(table, columns) if row["status"] == OK]


def _rows(table: Path, columns: Sequence[str]) -> list[Row]:
    """Return the rows of a table; none if it is damaged or just being made again."""
    try:
        return read_rows(table, columns)
    except (OSError, DamagedTable):
        return []


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _seconds_of(row: Row) -> float | None:
    """Return the length of a source or driver by its sheet, or by the header of its file; None if neither says it."""
    if row.get("end_s") is not None:
        return float(row["end_s"]) - float(row.get("start_s") or 0.0)
    try:
        with open_video(row["path"]) as video:
            if video.stream.duration and video.stream.time_base:
                return float(video.stream.duration * video.stream.time_base)
            return video.container.duration / 1e6 if video.container.duration else None
    except (Failed, Rejected):
        return None


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0


def _spread(items: Sequence[_T]) -> list[_T]:
    """Return some of the items, evenly spaced."""
    step = max(len(items) / _SAMPLED, 1.0)
    return [items[int(place * step)] for place in range(min(len(items), _SAMPLED))]
