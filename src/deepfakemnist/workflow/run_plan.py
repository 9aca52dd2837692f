"""Run plan: shards and batches of videos, their contents and job dependencies.

Follows from config and sample sheets alone. Every job parses the workflow again, so the main process keeps the plan in
a file, and jobs read of it what they need.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from deepfakemnist.config.load import Config
from deepfakemnist.errors import ConfigError
from deepfakemnist.planning.assignment import Assignment
from deepfakemnist.planning.dealing import Plans, quotas
from deepfakemnist.planning.rounds import CandidateOutcome
from deepfakemnist.sources.sheets import missing_files
from deepfakemnist.tables.schemas import Row
from deepfakemnist.workflow.fake_round import FakeRound, FakeShard, by_own_number
from deepfakemnist.workflow.params import described
from deepfakemnist.workflow.plan_pieces import (
    Pieces,
    make_pieces,
    open_pieces,
    plan_file,
    settings_digest,
    stored_pieces,
)
from deepfakemnist.workflow.sharding import ShardOfHash, batches_of, range_of, shard_of_animator

ROLES = ("source", "driver")
#: Sources of which one job takes the facts for the audit, with their fakes: about two minutes of work.
SOURCES_PER_FACTS = 2000
#: Adapters of published lists whose videos disappear over time: a missing one becomes a row and never stops the run.
_LINK_ROT_ADAPTERS = ("vox-metadata", "voxceleb1")
#: Where plans are kept, below the folder in which Snakemake works.
FOLDER = Path(".snakemake", "deepfakemnist")
#: Environment variable with the plans that the run's main process works by, as SETTINGS=PLAN with commas between.
VARIABLE = "DEEPFAKEMNIST_PLAN"


class RunPlan:
    """Videos of a run and their shards. Cheap to build: reads file names and sheets, no video."""

    def __init__(self, config: Config, check_files: bool = True, pieces: Pieces | None = None) -> None:
        """Take a plan, or make it from the sheets.

        Args:
            config: the validated config.
            check_files: also check that every file exists. Only the main process needs it: every job parses the
                workflow again, and for VoxCeleb on a network file system the check takes seconds.
            pieces: its content, see :func:`.plan_pieces.make_pieces`, which makes it if None.
        """
        self.config = config
        self._pieces = make_pieces(config) if pieces is None else pieces
        self._files: dict[tuple[str, str], list[str]] = {}
        if check_files and not self.released:
            self._check_files()

    @classmethod
    def of_run(cls, config: Config, is_main: bool, check_files: bool) -> RunPlan:
        """Return the plan of a run whose folder is the current one.

        The main process keeps it in a file and names it in the environment; a job, on this machine or another, takes
        that one, and makes its own only if it cannot read it.

        Args:
            config: the config.
            is_main: whether this is the process that plans the run.
            check_files: see the constructor.
        """
        # As a module, the workflow may be there twice, with two configs.
        named = dict(entry.split("=") for entry in os.environ.get(VARIABLE, "").split(",") if entry)
        own = settings_digest(config)
        if not is_main and own in named and (pieces := open_pieces(FOLDER, named[own])):
            return cls(config, check_files, pieces)
        pieces, name = stored_pieces(config, FOLDER)
        if name:
            named[own] = name
        os.environ[VARIABLE] = ",".join(f"{settings}={plan}" for settings, plan in named.items())
        return cls(config, check_files, pieces)

    @staticmethod
    def files_of_run() -> list[Path]:
        """Return the files with the plans of the run, which the main process names in the environment."""
        return [FOLDER / plan_file(entry.split("=")[1]) for entry in os.environ.get(VARIABLE, "").split(",") if entry]

    def shards(self, role: str) -> list[str]:
        """Return the shard names of a role."""
        return sorted(self._shards[role])

    def count(self, role: str) -> int:
        """Return the number of videos of a role."""
        return sum(self._shards[role].values())

    def fact_parts(self) -> list[str]:
        """Return the names of the parts in which facts of the videos are taken for the audit."""
        parts = max(1, -(-self.count("source") // SOURCES_PER_FACTS))
        return [f"{part}-of-{parts}" for part in range(1, parts + 1)]

    def rows(self, role: str, shard: str) -> list[Row]:
        """Return the sheet rows of a shard, without captions, which decide nothing that a stage makes of them."""
        rows: list[Row] = self._pieces[f"rows {role} {shard}"]
        return rows

    def rows_text(self, role: str, shard: str) -> str:
        """Return the rows of a shard as a text for params, see :func:`.params.described`."""
        return str(self._pieces[f"rows text {role} {shard}"])

    def candidates_text(self, shard: str) -> str:
        """Return the candidates of a shard of the first round as a text for params; that of none in a later round."""
        of_first = shard in self.first_round.parts
        return str(self._pieces[f"candidates text {shard}"]) if of_first else described("candidates", [])

    def captions(self) -> list[Row]:
        """Return what the sheet says of every source and the manifest alone needs, e.g. its licence."""
        rows: list[Row] = self._pieces["captions"]
        return rows

    def files(self, role: str, shard: str) -> list[str]:
        """Return the existing videos and annotations of a shard; missing ones become rows of the ingest table."""
        if (role, shard) not in self._files:
            named = [row.get(name) for row in self.rows(role, shard) for name in ("path", "annotation")]
            self._files[role, shard] = [path for path in dict.fromkeys(named) if path and Path(path).is_file()]
        return self._files[role, shard]

    def refused(self) -> list[Row]:
        """Return ledger rows of unprocessed videos: invalid sheet rows, excluded and unselected videos."""
        rows: list[Row] = self._pieces["refused"]
        return rows

    def left_aside(self) -> list[Row]:
        """Return what searched folders hold besides the videos used: number of files by reason and suffix."""
        rows: list[Row] = self._pieces["left_aside"]
        return rows

    def overview(self) -> str:
        """Return a few lines on the sources, see :func:`.source_overview.describe_sources`."""
        return str(self._pieces["overview"])

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
        parts = {shard: FakeShard(*part) for shard, part in self._pieces["first_round"].items()}
        return FakeRound(parts, lambda shard: [Assignment(*one) for one in self._pieces[f"candidates {shard}"]])

    def later_round(self, candidates: Sequence[Assignment]) -> FakeRound:
        """Return the fakes of a later round from its candidates."""
        size = self.config.shard_size
        by_shard = by_own_number(candidates, size, self.config.animator_suffixes)
        return FakeRound.of(by_shard, ShardOfHash(self._shards["source"], size))

    def fake_shards(self) -> list[str]:
        """Return the fake shards known before any job: see :attr:`first_round`, and those of a published tree."""
        return self.shards("fake") if self.released else self.first_round.shards

    def motion_shards(self, label: str | None = None) -> list[str]:
        """Return the shards of motions of an animator, by its label; None: of all that render here."""
        rendering = [one.named for one in self.config.animators if one.renders_here]
        suffixes = self.config.animator_suffixes
        chosen = [suffixes[one] for one in rendering if label in (None, one)]
        return [shard_of_animator(shard, suffix) for suffix in chosen for shard in self.shards("driver")]

    def driver_batches(self, clips: int, alone: Collection[str] = ()) -> dict[str, list[str]]:
        """Return the motion extraction jobs and the shards of each, see :meth:`.FakeRound.batches`."""
        return batches_of(
            {shard: self._shards["driver"][range_of(shard)] for shard in self.motion_shards()}, clips, alone
        )

    @property
    def quotas(self) -> dict[str, int] | None:
        """Label of each animator → fakes to keep per action; None without a quota."""
        return quotas(self.config.animators, self.config.plan)

    def pool(self) -> object:
        """Return the inputs of later rounds besides earlier outcomes: people, actions, settings, seed."""
        relevant = self.config.plan.model_dump(mode="json", exclude={"max_rounds", "on_shortfall", "reals"})
        animators = [(one.named, one.share, one.quota) for one in self.config.animators]
        return self._pieces["sources"], self._pieces["drivers"], relevant, self.config.seed, animators

    def draw_candidates(self, outcomes: Sequence[CandidateOutcome]) -> list[Assignment]:
        """Return the candidates of the next round."""
        return self._plans.draw(outcomes)

    def quota_summary(self, outcomes: Sequence[CandidateOutcome]) -> list[Row]:
        """Return one row per animator and action: its counts, quota and why its rounds ended."""
        return self._plans.summary(outcomes)

    def people(self, splits: Sequence[str]) -> set[str]:
        """Return the people of the given splits."""
        return {person for person, split in self._pieces["people"].items() if split in splits}

    def split_of(self) -> dict[str, str]:
        """Return the split of every source video."""
        return dict(self._pieces["split_of"])

    def driver_splits(self) -> dict[str, str] | None:
        """Return the split of every driving person; None where the splits share all drivers."""
        splits: dict[str, str] | None = self._pieces["driver_splits"]
        return splits

    @cached_property
    def _shards(self) -> dict[str, dict[str, int]]:
        """Role → shard → number of videos."""
        return dict(self._pieces["shards"])

    @cached_property
    def _plans(self) -> Plans:
        return Plans(*self._people(), self.config.animators, self.config.plan, self.config.seed)

    def _people(self) -> tuple[list[Row], list[Row]]:
        """Return sources and drivers as far as the rounds need them."""
        sources = [{"video_id": video, "person_id": person} for video, person in self._pieces["sources"]]
        drivers = [
            {"video_id": video, "action": action, "person_id": person}
            for video, action, person in self._pieces["drivers"]
        ]
        return sources, drivers

    def _all_rows(self, role: str) -> Iterator[Row]:
        for shard in self.shards(role):
            yield from self.rows(role, shard)

    def _check_files(self) -> None:
        problems = {"drivers.sheet": missing_files(self._all_rows("driver"))}
        if self.config.sources.on_bad_row == "stop":
            required = (row for row in self._all_rows("source") if row["adapter"] not in _LINK_ROT_ADAPTERS)
            problems["sources"] = missing_files(required)
        for key, paths in problems.items():
            if paths:
                listing = "\n  ".join(paths[:20]) + (f"\n  … and {len(paths) - 20} more" if len(paths) > 20 else "")
                hint = " Set sources.on_bad_row: row to continue without them." if key == "sources" else ""
                raise ConfigError(
                    f"{key}: {len(paths)} videos do not exist:\n  {listing}\n"
                    f"Relative paths start at the sheet's folder.{hint}"
                )
