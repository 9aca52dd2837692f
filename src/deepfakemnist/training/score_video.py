"""Scores of arbitrary videos: every face is prepared as the detector's training clips were, and judged on its own.

Crop, encode and still frames are the workflow's own stages, with the settings that the checkpoint states. A video is
read once, in windows, so its length costs time but no memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import ceil
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfakemnist.config.base import MediaLimits
from deepfakemnist.config.dataset import CompressSettings, FrameSettings, MarkSettings
from deepfakemnist.dataset.face_boxes import best_face
from deepfakemnist.devices.reduced_precision import deterministic_cudnn
from deepfakemnist.errors import ConfigError, Failed, Rejected
from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.faces.policies import CropBox
from deepfakemnist.faces.segments import FaceSegment, Rescale, SkippedFace, read_windows
from deepfakemnist.media.compress import compress_clip
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.ffmpeg import find_ffmpeg
from deepfakemnist.media.frames import sampled_pictures
from deepfakemnist.media.limits import limited
from deepfakemnist.training.checkpoint import Checkpoint
from deepfakemnist.training.data import detector_input, neighbours
from deepfakemnist.training.decision import Decision

Verdict = Literal["fake", "real", "unscored"]
#: How tracks become a verdict, for every output that states one.
RULE = "fake if the score of any face track, the mean over its frames, is at or above the threshold"

_BATCH_SIZE = 16
#: Frames per video kept for heat maps: those with the highest scores.
_SHOWN = 4
_AS_IT_IS = "as it is"
#: What happens to the size of a video that is a crop already, by what the training clips were.
_RESCALE: dict[str, Rescale] = {"cropped_here": "other_sizes", "crops": "always", "released": "never"}


@dataclass(frozen=True)
class ScoredFrame:
    """One frame of a face: seconds of the video, logit, and calibrated P(fake)."""

    time_s: float
    logit: float
    score: float


@dataclass(frozen=True)
class ScoredSegment:
    """Frames of one face in one window, with the crop box of every frame."""

    from_s: float
    to_s: float
    boxes: Sequence[CropBox]
    frames: list[ScoredFrame]


@dataclass
class FaceTrack:
    """A face between two cuts.

    Args:
        number: from 1, in order of appearance.
        threshold: see Decision.
        segments: its parts, in order.
    """

    number: int
    threshold: float
    segments: list[ScoredSegment] = field(default_factory=list)

    @property
    def frames(self) -> list[ScoredFrame]:
        """Scored frames in order."""
        return [frame for segment in self.segments for frame in segment.frames]

    @property
    def score(self) -> float:
        """Mean calibrated P(fake) of the frames."""
        return float(np.mean([frame.score for frame in self.frames]))

    @property
    def verdict(self) -> Verdict:
        """Whether the score is at or above the threshold."""
        return "fake" if self.score >= self.threshold else "real"

    @property
    def seconds(self) -> list[tuple[int, float, int]]:
        """Second of the video, mean score and number of frames, for every second with a scored frame."""
        by_second = groupby(self.frames, key=lambda frame: int(frame.time_s))
        scores = [(second, [frame.score for frame in frames]) for second, frames in by_second]
        return [(second, float(np.mean(values)), len(values)) for second, values in scores]


@dataclass
class VideoScore:
    """What a detector says of a video.

    Args:
        path: video file.
        decision: threshold and temperature.
        tracks: the faces that were judged.
        skipped: what could not be judged, and why.
        cuts_s: changes of shot or person, seconds.
        length_s: seconds that were read.
        reason: why the video as a whole could not be read, or not to its end; empty if it could.
        detail: message behind the reason.
        shown: the frames with the highest scores: second, score and detector input.
    """

    path: Path
    decision: Decision
    tracks: list[FaceTrack] = field(default_factory=list)
    skipped: list[SkippedFace] = field(default_factory=list)
    cuts_s: list[float] = field(default_factory=list)
    length_s: float = 0.0
    reason: str = ""
    detail: str = ""
    shown: list[tuple[float, float, Tensor]] = field(default_factory=list)

    @property
    def score(self) -> float | None:
        """Highest score of a track, which decides; None without one."""
        return max((track.score for track in self.tracks), default=None)

    @property
    def verdict(self) -> Verdict:
        """Verdict by RULE; unscored where no face was judged, or where the file is broken and what there is is real."""
        if self.score is None:
            return "unscored"
        if self.score >= self.decision.threshold:
            return "fake"
        return "unscored" if self.reason else "real"


class VideoScorer:
    """A detector, set up for the videos that it judges.

    Args:
        checkpoint: trained detector.
        quality: encode every face crop at this quality of the checkpoint first; None: score it as it is.
        frames: frames scored of each face in each window; None: as trained, and at least one per second.
        cropped: videos are square face crops already.
        assume_crop: crop faces with the checkpoint's settings although its clips were cropped elsewhere.
        boxes: annotated boxes of the face, see faces.segments.read_windows; for a single video.

    Raises: ConfigError when the checkpoint cannot judge such videos.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        quality: str | None = None,
        frames: int | None = None,
        cropped: bool = False,
        assume_crop: bool = False,
        boxes: list[list[float]] | None = None,
    ) -> None:
        preparation = checkpoint.preparation
        if preparation.clips != "cropped_here" and not cropped and not assume_crop:
            raise ConfigError(
                f"{checkpoint.settings.slug} was trained on clips that were face crops already, and how they were cut "
                "is not known. Give square face crops, cut alike, with --cropped; or --assume-crop, which cuts them by "
                f"crop.policy {preparation.crop.policy} of that run's config"
            )
        if quality is not None and quality not in preparation.qualities:
            known = ", ".join(preparation.qualities) or "none"
            raise ConfigError(
                f"the checkpoint states no encoder settings of quality {quality!r}; it has those of: {known}"
            )
        self.checkpoint, self.quality = checkpoint, quality
        self._preparation, self._count, self._cropped, self._boxes = preparation, frames, cropped, boxes
        self._faces = FaceDetector(preparation.crop.min_score, preparation.crop.detect_max_side)
        self._find_face = best_face() if preparation.frames.region == "face" else None

    def score(self, path: Path) -> VideoScore:
        """Return the scores of a video; one that cannot be read has a reason.

        Raises: ConfigError for a detector whose logits are not finite.
        """
        scored = VideoScore(path, self.checkpoint.decision)
        crop = self._preparation.crop
        tracks: dict[int, FaceTrack] = {}
        try:
            for window in read_windows(
                path,
                crop,
                self._faces,
                cropped=self._cropped,
                boxes=self._boxes,
                rescale=_RESCALE[self._preparation.clips],
            ):
                scored.length_s = window.to_s
                scored.cuts_s += window.cuts_s
                scored.skipped += window.skipped
                for segment in window.segments:
                    track = tracks.setdefault(segment.track, FaceTrack(segment.track, scored.decision.threshold))
                    try:
                        track.segments.append(self._score_segment(segment, scored))
                    except (Rejected, Failed) as error:
                        scored.skipped.append(SkippedFace(segment.from_s, segment.to_s, error.reason, error.detail))
        except (Rejected, Failed) as error:
            scored.reason, scored.detail = error.reason, error.detail
        for track in tracks.values():
            frames = sum(len(segment.boxes) for segment in track.segments)
            if frames >= crop.min_frames:
                scored.tracks.append(track)
            elif track.segments:
                first, last = track.segments[0], track.segments[-1]
                detail = f"{frames} frames at {crop.fps:g} fps; at least {crop.min_frames} are required"
                scored.skipped.append(SkippedFace(first.from_s, last.to_s, "too_short", detail))
        scored.skipped.sort(key=lambda face: face.from_s)
        return scored

    def _score_segment(self, segment: FaceSegment, scored: VideoScore) -> ScoredSegment:
        with tempfile.TemporaryDirectory() as folder:
            stills = list(self._stills(segment, Path(folder)))
        detector = self.checkpoint.detector
        pixels = torch.stack([detector_input(picture, detector.image_size) for _, picture in stills])
        samples = _Samples(pixels, detector.config.clip_frames)
        logits = self._logits(samples)
        scores = scored.decision.scores(logits)
        frames = [
            ScoredFrame(segment.from_s + index / self._preparation.crop.fps, float(logit), float(score))
            for (index, _), logit, score in zip(stills, logits, scores, strict=True)
        ]
        # The highest of each quarter, so that the four are not neighbours.
        parts = np.array_split(np.arange(len(frames)), min(_SHOWN, len(frames)))
        highest = [int(part[np.argmax(scores[part])]) for part in parts]
        candidates = [(frames[at].time_s, frames[at].score, samples[at].clone()) for at in highest]
        scored.shown = sorted([*scored.shown, *candidates], key=lambda shown: -shown[1])[:_SHOWN]
        return ScoredSegment(segment.from_s, segment.to_s, segment.boxes, frames)

    def _stills(self, segment: FaceSegment, folder: Path) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield frame number and picture, as the crop, compress and frames stages would make them of the segment."""
        fps = self._preparation.crop.fps
        with limited(MediaLimits(), segment.path):
            clip = write_working_clip(folder / "clip.mp4", segment.crops(), fps)
        row = {"video_id": "clip", "label": 0, "quality": _AS_IT_IS, **clip.columns()}
        files = [row]
        if self.quality is not None:
            encodes = self._preparation.encodes_for(self.quality)
            compress = CompressSettings(qualities=encodes, mark=MarkSettings(comment=False, c2pa=False))
            files = compress_clip(row, folder, 0, compress, fps, find_ffmpeg(None))
        settings = self._sampling(clip.frames, segment.continues)
        wanted = self.quality or _AS_IT_IS
        for file, index, _, picture, _ in sampled_pictures({**row, "files": files}, settings, self._find_face):
            if file["quality"] == wanted:
                yield index, picture

    def _sampling(self, total: int, continues: bool) -> FrameSettings:
        """Return which of a segment's frames to score.

        A whole video is judged, so frames are spread over it whatever frames.policy is; but a detector trained on runs
        of consecutive frames gets all. A segment that goes on with a track is sampled as densely as a whole window, so
        that the mean over a track's frames is one over its time.
        """
        trained, crop = self._preparation.frames, self._preparation.crop
        length = self.checkpoint.detector.config.clip_frames
        if self._count is not None:
            return trained.model_copy(update={"policy": "even", "per_clip": self._count})
        if trained.policy == "all" or (trained.policy == "first" and length > 1):
            return trained.model_copy(update={"policy": "all"})
        seconds = ceil(total / crop.fps)
        count = max(trained.per_clip, seconds)
        if continues:
            count = max(ceil(total * trained.per_clip / crop.max_frames), seconds, length)
        return trained.model_copy(update={"policy": "even", "per_clip": count})

    def _logits(self, samples: _Samples) -> NDArray[np.float64]:
        detector = self.checkpoint.detector
        device = detector.mean.device
        with torch.inference_mode(), deterministic_cudnn(tf32=False):
            parts = [detector(samples[rows].to(device)).double().cpu() for rows in samples.batches()]
        logits = torch.cat(parts).numpy()
        if not np.isfinite(logits).all():
            raise ConfigError(
                f"{detector.config.name} returns non-finite logits: its training diverged; lower its learning_rate"
            )
        return logits


class _Samples:
    """Detector inputs of consecutive stills (N, 3, S, S); clips of them are made when they are needed."""

    def __init__(self, pixels: Tensor, clip_frames: int) -> None:
        self._pixels = pixels
        self._rows = neighbours(len(pixels), clip_frames) if clip_frames > 1 else None

    def __getitem__(self, rows: int | slice) -> Tensor:
        return self._pixels[rows if self._rows is None else torch.from_numpy(self._rows[rows])]

    def batches(self) -> Iterator[slice]:
        for start in range(0, len(self._pixels), _BATCH_SIZE):
            yield slice(start, start + _BATCH_SIZE)
