"""Training of the run's animator: the settings that decide it, and whether an earlier training can be kept."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from deepfakemnist.animate.training.clip_list import is_trained
from deepfakemnist.code_digest import code_digest
from deepfakemnist.sources.video_files import find_videos
from deepfakemnist.workflow.input_files import InputFiles
from deepfakemnist.workflow.params import digest
from deepfakemnist.workflow.run_plan import RunPlan


class AnimatorTraining:
    """What the animator is trained with, from config, sheets and input files alone."""

    def __init__(self, run_plan: RunPlan, input_files: InputFiles) -> None:
        self._run_plan = run_plan
        self._config = run_plan.config
        self._animator = run_plan.config.trained_animator
        self._files = input_files

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Return the settings that decide the weights, as plain values for params.

        Crops enter by their settings, not by their pixels: after an edit of the crop all fakes change anyway, but one
        crop made again must not train the animator again.
        """
        assert self._animator is not None, "asked for by the rules of a training only"
        train = self._animator.train
        return {
            "animator": self._animator.model_dump(mode="json", include={"model", "train", "align_corners"}),
            "crop": None if train.clips else self._config.crop.model_dump(mode="json"),
            "clips_sha256": digest({path: self._files.sha256(path) for path in self._clips()}),
            "start_from_sha256": self._files.sha256(train.start_from),
            "seed": self._config.seed,
            "code": code_digest("animate.training.stage"),
        }

    @property
    def gpus(self) -> int:
        """Return the number of GPUs, i.e. of processes, that train it."""
        return 1 if self._animator is None else self._animator.train.gpus

    def people(self) -> set[str]:
        """Return the people whose videos the animator may be trained on; drivers are always used."""
        assert self._animator is not None
        return self._run_plan.people(self._animator.train.splits)

    def is_finished(self, results: Path) -> bool:
        """Return whether the results hold an animator trained with these settings on videos that it may use."""
        if self._animator is None:
            return False
        usable = None if self._animator.train.clips else self._usable()
        return is_trained(results / "animator", digest(self.settings), usable)

    def _clips(self) -> list[str]:
        """Return the files of ``train.clips``: the videos of a folder, or the table."""
        assert self._animator is not None
        where = self._animator.train.clips
        if where is None:
            return []
        return [str(path) for path in find_videos(where).videos] if where.is_dir() else [str(where)]

    def _usable(self) -> set[str]:
        assert self._animator is not None
        splits = self._animator.train.splits
        sources = {name for name, split in self._run_plan.split_of().items() if split in splits}
        shards = self._run_plan.shards("driver")
        return sources | {row["video_id"] for shard in shards for row in self._run_plan.rows("driver", shard)}
