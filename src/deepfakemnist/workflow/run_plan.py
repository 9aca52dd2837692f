"""Run plan: shards and batches of videos, their contents and job dependencies.

Built from config and sample sheets alone, because every job parses the workflow again.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from deepfakemnist.config.base import SPLITS
from deepfakemnist.config.load import Config
from deepfakemnist.config.stages import PlanSettings
from deepfakemnist.errors import ConfigError
from deepfakemnist.planning.assignment import Assignment, assign, split_drivers, split_people
from deepfakemnist.planning.rounds import CandidateOutcome, draw_candidates, quota_summary
from deepfakemnist.sources.exclusions import without_excluded
from deepfakemnist.sources.read import read_sources
from deepfakemnist.sources.released import read_released
from deepfakemnist.sources.sheets import Sheet, missing_files, read_drivers
from deepfakemnist.sources.video_files import count_left_aside
from deepfakemnist.tables.schemas import Row
from deepfakemnist.workflow.fake_round import FakeRound
from deepfakemnist.workflow.sharding import batches, split_into_shards

#: Columns of a sheet for the manifest alone: an edit must not re-run a stage.
_CAPTIONS = ("licence",)
ROLES = ("source", "driver")
#: Adapters of published lists whose videos disappear over time: a missing one becomes a row and never stops the run.
_LINK_ROT_ADAPTERS = ("vox-metadata", "voxceleb1")


class RunPlan:
    """Videos of a run and their shards. Cheap to build: reads file names and sheets, no video."""

    def __init__(self, config: Config, check_files: bool = True) -> None:
        """Read the sheets.

        Args:
            config: the validated config.
            check_files: also check that every file exists. Only the main process needs it: every job parses the
                workflow again, and for VoxCeleb on a network file system the check takes seconds.
        """
        self.config = config
        self._sheets: dict[str, Sheet]
        if config.sources.released is not None:
            clips = read_released(config.sources)
            self._sheets = {"source": clips["real"], "driver": Sheet(), "fake": clips["fake"]}
            return
        self._sheets = {
            "source": read_sources(config.sources, config.seed),
            "driver": read_drivers(config.drivers.sheet),
        }
        if config.sources.exclude:
            self._sheets["driver"] = without_excluded(self._sheets["driver"], config.sources.exclude, "driver")
        self._check_actions()
        self._check_driver_splits()
        if check_files:
            self._check_files()

    def shards(self, role: str) -> list[str]:
        """Return the shard names of a role."""
        return sorted(self._shards[role])

    def rows(self, role: str, shard: str) -> list[Row]:
        """Return the sheet rows of a shard, without captions, which decide nothing that a stage makes of them."""
        return [{name: row[name] for name in row if name not in _CAPTIONS} for row in self._shards[role][shard]]

    def captions(self) -> list[Row]:
        """Return what the sheet says of every source and the manifest alone needs, e.g. its licence."""
        sources = sorted(self._sheets["source"].rows, key=lambda row: str(row["video_id"]))
        return [
            {"source_id": row["video_id"], "person_id": row["person_id"], "licence": row.get("licence")}
            for row in sources
        ]

    def files(self, role: str, shard: str) -> list[str]:
        """Return the existing videos and annotations of a shard; missing ones become rows of the ingest table."""
        named = [row.get(name) for row in self.rows(role, shard) for name in ("path", "annotation")]
        return [path for path in dict.fromkeys(named) if path and Path(path).is_file()]

    def refused(self) -> list[Row]:
        """Return ledger rows of unprocessed videos: invalid sheet rows, excluded and unselected videos."""
        return [row for sheet in self._sheets.values() for row in sheet.refused]

    def left_aside(self) -> list[Row]:
        """Return what searched folders hold besides the videos used: number of files by reason and suffix."""
        return count_left_aside(self.sources.left_aside)

    @property
    def sources(self) -> Sheet:
        """Sheet of the sources: rows, refused rows, and how people were told apart."""
        return self._sheets["source"]

    @property
    def wanted_splits(self) -> list[str]:
        """Splits that need people: all but those whose fraction is 0; none if the split is a published one."""
        fractions = {"val": self.config.plan.val_fraction, "test": self.config.plan.test_fraction}
        return [] if self.released else [split for split in SPLITS if fractions.get(split, 1.0) > 0]

    @property
    def released(self) -> bool:
        """Whether all clips are imported from a published tree: reals (role source) and fakes (role fake)."""
        return self.config.sources.released is not None

    @property
    def rounds(self) -> bool:
        """Whether candidates are sampled in rounds; otherwise all are known before any job."""
        return self.config.plan.max_rounds > 1

    @cached_property
    def first_round(self) -> FakeRound:
        """The fakes whose candidates are known before any job: those of round 1, or all if there are no rounds."""
        if not self.rounds:
            return FakeRound.only(self._assigned, self._shard_of)
        return FakeRound.numbered(self._assigned, self._shard_of, self.config.shard_size)

    def later_round(self, candidates: Sequence[Assignment]) -> FakeRound:
        """Return the fakes of a later round from its candidates."""
        return FakeRound.numbered(candidates, self._shard_of, self.config.shard_size)

    def fake_shards(self) -> list[str]:
        """Return the fake shards known before any job: see :attr:`first_round`, and those of a published tree."""
        return self.shards("fake") if self.released else self.first_round.shards

    def driver_batches(self, clips: int) -> dict[str, list[str]]:
        """Return the motion extraction jobs, of about ``clips`` drivers each, and the shards of each."""
        return batches({shard: len(rows) for shard, rows in self._shards["driver"].items()}, clips)

    def pool(self) -> object:
        """Return the inputs of later rounds besides earlier outcomes: people, actions, settings, seed."""
        sources, drivers, settings, seed = self._pool
        people = [(row["video_id"], row["person_id"]) for row in sources]
        performed = [(row["video_id"], row["action"], row["person_id"]) for row in drivers]
        relevant = settings.model_dump(mode="json", exclude={"max_rounds", "on_shortfall", "reals"})
        return people, performed, relevant, seed

    def draw_candidates(self, outcomes: Sequence[CandidateOutcome]) -> list[Assignment]:
        """Return the candidates of the next round."""
        return draw_candidates(*self._pool, outcomes)

    def quota_summary(self, outcomes: Sequence[CandidateOutcome]) -> list[Row]:
        """Return one row per action: its counts, quota and why its rounds ended."""
        return quota_summary(*self._pool, outcomes)

    def people(self, splits: Sequence[str]) -> set[str]:
        """Return the people of the given splits."""
        return {person for person, split in self._split_of_person.items() if split in splits}

    def split_of(self) -> dict[str, str]:
        """Return the split of every source video."""
        if self.released:
            return {row["video_id"]: row["split"] for row in self._sheets["source"].rows}
        return {row["video_id"]: self._split_of_person[row["person_id"]] for row in self._sheets["source"].rows}

    def driver_splits(self) -> dict[str, str] | None:
        """Return the split of every driving person; None where the splits share all drivers."""
        return split_drivers(*self._pool)

    @cached_property
    def _split_of_person(self) -> dict[str, str]:
        people = [row["person_id"] for row in self._sheets["source"].rows]
        return split_people(people, self.config.plan, self.config.seed)

    @cached_property
    def _shards(self) -> dict[str, dict[str, list[Row]]]:
        return {
            role: split_into_shards([(row["video_id"], row) for row in sheet.rows], self.config.shard_size)
            for role, sheet in self._sheets.items()
        }

    @cached_property
    def _pool(self) -> tuple[list[Row], list[Row], PlanSettings, int]:
        return self._sheets["source"].rows, self._sheets["driver"].rows, self.config.plan, self.config.seed

    @cached_property
    def _assigned(self) -> list[Assignment]:
        sources, drivers, settings, seed = self._pool
        return draw_candidates(sources, drivers, settings, seed) if self.rounds else assign(sources, settings, seed)

    @cached_property
    def _shard_of(self) -> dict[str, str]:
        return {row["video_id"]: shard for shard, rows in self._shards["source"].items() for row in rows}

    def _check_actions(self) -> None:
        have = {row["action"] for row in self._sheets["driver"].rows}
        lacking = [action for action in self.config.plan.actions if action not in have]
        if lacking:
            raise ConfigError(
                f"plan.actions lists {lacking}, but {self.config.drivers.sheet} has no driver for them; "
                f"it has {sorted(have)}"
            )

    def _check_driver_splits(self) -> None:
        """Raise ConfigError when drivers are dealt to the splits and an action is left without any in one of them."""
        if (split_of := self.driver_splits()) is None:
            return
        have = {(row["action"], split_of[row["person_id"]]) for row in self._sheets["driver"].rows}
        lacking = [
            f"{action} in {split}"
            for action in self.config.plan.actions
            for split in self.wanted_splits
            if (action, split) not in have
        ]
        if lacking:
            counts = Counter(split_of.values())
            dealt = ", ".join(f"{counts[split]} in {split}" for split in SPLITS)
            raise ConfigError(
                f"plan.drivers is disjoint, but {self.config.drivers.sheet} has no driver for {', '.join(lacking)}; "
                f"its people are dealt to the splits, {dealt}. Add people who perform these actions, or set "
                "plan.drivers: shared"
            )

    def _check_files(self) -> None:
        problems = {"drivers.sheet": missing_files(self._sheets["driver"].rows)}
        if self.config.sources.on_bad_row == "stop":
            required = [row for row in self._sheets["source"].rows if row["adapter"] not in _LINK_ROT_ADAPTERS]
            problems["sources"] = missing_files(required)
        for key, paths in problems.items():
            if paths:
                listing = "\n  ".join(paths[:20]) + (f"\n  … and {len(paths) - 20} more" if len(paths) > 20 else "")
                hint = " Set sources.on_bad_row: row to continue without them." if key == "sources" else ""
                raise ConfigError(
                    f"{key}: {len(paths)} videos do not exist:\n  {listing}\n"
                    f"Relative paths start at the sheet's folder.{hint}"
                )


def digest(value: object) -> str:
    """Return 16 hex digits over a small value, for ``params`` whose change re-runs a job."""
    text = json.dumps(value, sort_keys=True, default=_to_json)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _to_json(value: object) -> object:
    """Convert values that JSON lacks; sets are sorted for a stable digest."""
    if isinstance(value, Assignment):
        return asdict(value)
    return sorted(value) if isinstance(value, set) else str(value)
