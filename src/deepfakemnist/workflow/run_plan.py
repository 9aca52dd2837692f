"""What the Snakefile asks: which shards there are, what is in them, and what a shard's job depends on."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from deepfakemnist.config.load import Config
from deepfakemnist.config.stages import PlanSettings
from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import seed_from
from deepfakemnist.planning.assignment import Assignment, assign, split_people
from deepfakemnist.planning.rounds import CandidateOutcome, draw_candidates, quota_summary
from deepfakemnist.sources.exclusions import without_excluded
from deepfakemnist.sources.read import read_sources
from deepfakemnist.sources.released import read_released
from deepfakemnist.sources.sheets import Sheet, missing_files, read_drivers
from deepfakemnist.tables.schemas import Row

#: Up to this many videos every job is one video; beyond, planning and scheduling jobs would cost more than they give.
_ONE_JOB_PER_VIDEO_UP_TO = 200
_AUTO_SHARDS = 400

ROLES = ("source", "driver")
#: Joins a source shard and a round in the name of a shard of fakes. It cannot occur in an id.
_ROUND_SEPARATOR = "@"
#: Lists of videos that others published and nobody has all of: what is missing is a row, never a reason to stop.
DECAYING = ("vox-metadata", "voxceleb1")


class RunPlan:
    """The videos of a run, cut into shards. Cheap to make: it reads names and sheets, and no video."""

    def __init__(self, config: Config, check_files: bool = True) -> None:
        """Read the sheets.

        Args:
            config: the validated config.
            check_files: also look whether every file exists. Only the main process needs to; at VoxCeleb's size on a
                network file system it takes seconds, and every job parses the workflow again.
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
        if check_files:
            self._check_files()

    def shards(self, role: str) -> list[str]:
        """Return the names of a role's shards."""
        return sorted(self._shards[role])

    def rows(self, role: str, shard: str) -> list[Row]:
        """Return the sheet rows of a shard."""
        return self._shards[role][shard]

    def files(self, role: str, shard: str) -> list[str]:
        """Return the videos and annotations of a shard that exist; the others become rows of the ingest table."""
        named = [row.get(name) for row in self.rows(role, shard) for name in ("path", "annotation")]
        return [path for path in dict.fromkeys(named) if path and Path(path).is_file()]

    def refused(self) -> list[Row]:
        """Return ledger rows for what was named but never looked at: refused lines, excluded and unchosen videos."""
        return [row for sheet in self._sheets.values() for row in sheet.refused]

    @property
    def released(self) -> bool:
        """Whether the clips are finished ones, real (role source) and fake (role fake), that nothing is made of."""
        return self.config.sources.released is not None

    @property
    def rounds(self) -> bool:
        """Whether candidates are drawn in rounds; else all of them are known before anything runs."""
        return self.config.plan.max_rounds > 1

    def fake_shards(self, drawn: Sequence[Assignment] | None = None) -> list[str]:
        """Return the shards of fakes of a round, SHARD@ROUND; without rounds they are the source shards.

        Args:
            drawn: candidates of a later round; None: the first.
        """
        if self.released:
            return self.shards("fake")
        if not self.rounds:
            return self.shards("source")
        return sorted(self._by_fake_shard(self._assigned if drawn is None else drawn))

    def assignments(self, shard: str, drawn: Sequence[Assignment] | None = None) -> list[Assignment]:
        """Return the candidates of a shard of fakes; ``drawn`` are those of its round, None: the first."""
        if drawn is not None:
            return self._by_fake_shard(drawn).get(shard, [])
        return self._first_round.get(shard, [])

    def driver_batches(self, clips: int) -> dict[str, list[str]]:
        """Return the jobs, of about ``clips`` drivers each, that compute keypoints, and the shards of each."""
        return batches({shard: len(rows) for shard, rows in self._shards["driver"].items()}, clips)

    def fake_batches(self, clips: int, drawn: Sequence[Assignment] | None = None) -> dict[str, list[str]]:
        """Return the jobs, of about ``clips`` fakes each, that animate a round, and the shards of each.

        Args:
            clips: wanted per job.
            drawn: candidates of a later round; None: the first.
        """
        candidates = self._first_round if drawn is None else self._by_fake_shard(drawn)
        return batches({shard: len(candidates.get(shard, [])) for shard in self.fake_shards(drawn)}, clips)

    def pool(self) -> object:
        """Return what later rounds depend on besides the rounds before them: people, actions, settings, seed."""
        sources, drivers, settings, seed = self._pool
        people = [(row["video_id"], row["person_id"]) for row in sources]
        performed = [(row["video_id"], row["action"], row["person_id"]) for row in drivers]
        drawn_by = settings.model_dump(mode="json", exclude={"max_rounds", "on_shortfall", "reals"})
        return people, performed, drawn_by, seed

    def draw_candidates(self, outcomes: Sequence[CandidateOutcome]) -> list[Assignment]:
        """Return the candidates of the next round."""
        return draw_candidates(*self._pool, outcomes)

    def quota_summary(self, outcomes: Sequence[CandidateOutcome]) -> list[Row]:
        """Return how near every action came to its quota, and why it ended there."""
        return quota_summary(*self._pool, outcomes)

    def people(self, splits: Sequence[str]) -> set[str]:
        """Return the people of some splits."""
        return {person for person, split in self._split_of_person.items() if split in splits}

    def split_of(self) -> dict[str, str]:
        """Return the split of every source video."""
        if self.released:
            return {row["video_id"]: row["split"] for row in self._sheets["source"].rows}
        return {row["video_id"]: self._split_of_person[row["person_id"]] for row in self._sheets["source"].rows}

    @cached_property
    def _split_of_person(self) -> dict[str, str]:
        people = [row["person_id"] for row in self._sheets["source"].rows]
        return split_people(people, self.config.plan, self.config.seed)

    @cached_property
    def _shards(self) -> dict[str, dict[str, list[Row]]]:
        return {role: split_into_shards(sheet.rows, self.config.shard_size) for role, sheet in self._sheets.items()}

    @cached_property
    def _pool(self) -> tuple[list[Row], list[Row], PlanSettings, int]:
        return self._sheets["source"].rows, self._sheets["driver"].rows, self.config.plan, self.config.seed

    @cached_property
    def _assigned(self) -> list[Assignment]:
        sources, drivers, settings, seed = self._pool
        return draw_candidates(sources, drivers, settings, seed) if self.rounds else assign(sources, settings, seed)

    @cached_property
    def _first_round(self) -> dict[str, list[Assignment]]:
        return self._by_fake_shard(self._assigned)

    @cached_property
    def _shard_of(self) -> dict[str, str]:
        return {row["video_id"]: shard for shard, rows in self._shards["source"].items() for row in rows}

    def _by_fake_shard(self, assignments: Sequence[Assignment]) -> dict[str, list[Assignment]]:
        by_shard: dict[str, list[Assignment]] = defaultdict(list)
        for one in assignments:
            shard = self._shard_of[one.source_id]
            by_shard[f"{shard}{_ROUND_SEPARATOR}{one.round}" if self.rounds else shard].append(one)
        return by_shard

    def _check_actions(self) -> None:
        have = {row["action"] for row in self._sheets["driver"].rows}
        lacking = [action for action in self.config.plan.actions if action not in have]
        if lacking:
            raise ConfigError(
                f"plan.actions asks for {lacking}, but {self.config.drivers.sheet} has no driver for them; "
                f"it has {sorted(have)}"
            )

    def _check_files(self) -> None:
        problems = {"drivers.sheet": missing_files(self._sheets["driver"].rows)}
        if self.config.sources.on_bad_row == "stop":
            sure = [row for row in self._sheets["source"].rows if row["adapter"] not in DECAYING]
            problems["sources"] = missing_files(sure)
        for key, paths in problems.items():
            if paths:
                listing = "\n  ".join(paths[:20]) + (f"\n  … and {len(paths) - 20} more" if len(paths) > 20 else "")
                hint = " Set sources.on_bad_row: row to go on without them." if key == "sources" else ""
                raise ConfigError(
                    f"{key}: {len(paths)} videos do not exist:\n  {listing}\nPaths start at the sheet's folder.{hint}"
                )


def split_into_shards(rows: Sequence[Row], shard_size: int | str) -> dict[str, list[Row]]:
    """Cut rows into shards by name.

    Membership follows from a hash of the id, so a new video changes one shard. With one video per shard the shard has
    the video's name.
    """
    if shard_size == 1 or (shard_size == "auto" and len(rows) <= _ONE_JOB_PER_VIDEO_UP_TO):
        return {row["video_id"]: [row] for row in rows}
    count = _AUTO_SHARDS if shard_size == "auto" else math.ceil(len(rows) / int(shard_size))
    shards: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["video_id"]):
        shards[f"shard-{seed_from('shard', row['video_id']) % count:04d}"].append(row)
    return dict(shards)


def batches(sizes: Mapping[str, int], clips: int) -> dict[str, list[str]]:
    """Put the shards of a stage, or of a round of it, together to jobs of about ``clips`` clips.

    The number of jobs is a power of two and membership follows from a shard's name: a few clips more leave every shard
    in its job, and 2, 4 or 8 GPUs have equally many jobs.

    Args:
        sizes: shard → clips.
        clips: wanted per job.

    Returns: name of a job → its shards in order. Names are batch-NNNN, with the round that the shards have.
    """
    count = 2 ** max(round(math.log2(max(sum(sizes.values()), 1) / clips)), 0)
    jobs: dict[str, list[str]] = defaultdict(list)
    for shard in sorted(sizes):
        source = source_shard(shard)
        numbered = re.fullmatch(r"shard-(\d+)", source)
        number = int(numbered[1]) if numbered else seed_from("shard", source)
        jobs[f"batch-{number % count:04d}{shard.removeprefix(source)}"].append(shard)
    return dict(jobs)


def source_shard(shard: str) -> str:
    """Return the source shard that a shard of fakes belongs to; a source shard is its own."""
    return shard.split(_ROUND_SEPARATOR)[0]


def round_of(shard: str) -> int:
    """Return the round of a shard of fakes."""
    return int((*shard.split(_ROUND_SEPARATOR), "1")[1])


def digest(value: object) -> str:
    """Return 16 hex digits over something small, for ``params`` that should re-run a job when it changes."""
    text = json.dumps(value, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: object) -> object:
    """Turn what JSON does not know into what it does; a set has no order of its own."""
    if isinstance(value, Assignment):
        return asdict(value)
    return sorted(value) if isinstance(value, set) else str(value)
