"""Workflow stage of self-reenactment: every driver animated by itself from its first frame, and compared with itself.

The field's measure of an animator (Siarohin et al. 2019): the result should be the clip. It needs no other person, so
it says how exact motion and picture are, and nothing of identity transfer, which ``judge`` measures on the fakes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deepfakemnist.animate.protocol import Motion
from deepfakemnist.animate.registry import load_animator
from deepfakemnist.animate.stages import reduced
from deepfakemnist.animation_quality.image_metrics import keypoint_error, reconstruction_l1, sharpness_ratio
from deepfakemnist.config.animators.base import AnimatorSettings
from deepfakemnist.config.stages import AnimationQualitySettings, ReenactmentSettings
from deepfakemnist.devices.torch_device import choose_device
from deepfakemnist.faces.identity import FaceEmbedder
from deepfakemnist.faces.landmarks import FaceLandmarker
from deepfakemnist.media.decode import read_clip
from deepfakemnist.media.frames import evenly_spaced
from deepfakemnist.reenactment.lpips import Lpips
from deepfakemnist.reenactment.schema import REENACTED
from deepfakemnist.tables.checksums import check_unchanged
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import OK, Row
from deepfakemnist.tables.shards import Tally, run_shard

#: Evenly spaced frames to embed; an embedding costs as much as the landmarks of ten frames.
_EMBEDDED_FRAMES = 8


def reenact_shard(
    crops: Path,
    motions: Path,
    weights: Path | None,
    table: Path,
    settings: AnimatorSettings,
    quality: AnimationQualitySettings,
    reenactment: ReenactmentSettings,
    code: str,
    max_failed_fraction: float,
    device: str = "auto",
) -> Tally:
    """Reenact every driver of a shard by its own motion and write a REENACTED row each; no clip is stored.

    Motion starts from the first frame, which is the source image, whatever ``settings.start_frame`` is for fakes: it is
    the protocol of the field, and the only one in which result and truth are the same frames.

    Args:
        crops: CROPPED table of the shard.
        motions: MOTIONS table of the shard.
        weights: weights of the animator; None if it has none.
        table: table to write.
        settings: the animator's.
        quality: density of the evaluated frames.
        reenactment: weights for LPIPS, if it is measured.
        code: digest of the code behind the stage.
        max_failed_fraction: see ``shards.run_shard``.
        device: auto, cpu or cuda.

    Raises: ConfigError for unusable weights, those of LPIPS included, TooManyFailures; nothing for a bad clip.
    """
    crop_of = {row["video_id"]: row for row in read_rows(crops) if row["status"] == OK}
    rows = [
        {
            **{name: crop_of[row["video_id"]][name] for name in ("video_id", "person_id", "action", "pixels_sha256")},
            "motion_sha256": row["sha256"],
            "motion_path": row["path"],
        }
        for row in read_rows(motions)
        if row["status"] == OK and row["video_id"] in crop_of
    ]
    # The sha256 of the weights stands for what shaped them.
    settings = settings.rendering
    if "start_frame" in type(settings).model_fields:
        settings = settings.model_copy(update={"start_frame": "first"})
    animator = load_animator(settings, weights, device)
    landmarker, embedder = FaceLandmarker(), FaceEmbedder()
    lpips = Lpips(reenactment.lpips, choose_device(device)) if reenactment.lpips else None

    def reenact(row: Row) -> Row:
        crop = crop_of[row["video_id"]]
        check_unchanged(crop["path"], crop.get("sha256"))
        check_unchanged(row["motion_path"], row["motion_sha256"])
        truth = read_clip(crop["path"])
        motion = Motion.load(row["motion_path"])
        motion.check(animator.info.motion)
        state = animator.prepare_source(truth[0])
        result = np.stack([reduced(frame, len(truth[0])) for frame in animator.render(state, motion)])
        faces, true_faces = (landmarker.track(frames[:: quality.every]) for frames in (result, truth))
        return {
            "frames": len(truth),
            "l1": reconstruction_l1(result, truth),
            "akd": keypoint_error(faces, true_faces),
            "aed": _embedding_distance(result, truth, embedder),
            "lpips": lpips and lpips(result[:: quality.every], truth[:: quality.every]),
            "sharpness_ratio": sharpness_ratio(result[:: quality.every], faces, truth[0], true_faces[0]),
            "animator": settings.named,
            "checkpoint_sha256": animator.info.weights_sha256 or "",
        }

    return run_shard(
        rows,
        table,
        REENACTED,
        reenact,
        code=code,
        settings=settings,
        inputs=f"{animator.info.weights_sha256} {quality.every} {reenactment.lpips and reenactment.lpips.sha256}",
        depends_on=("video_id", "pixels_sha256", "motion_sha256"),
        max_failed_fraction=max_failed_fraction,
    )


def _embedding_distance(results: np.ndarray, truth: np.ndarray, embedder: FaceEmbedder) -> float:
    """Return the average Euclidean distance of face embeddings of result and truth; NaN when neither shows a face."""
    found = []
    for index in evenly_spaced(len(truth), _EMBEDDED_FRAMES):
        made, true = embedder(results[index]), embedder(truth[index])
        if made is not None and true is not None:
            found.append(float(np.linalg.norm(made - true)))
    return float(np.mean(found)) if found else float("nan")
