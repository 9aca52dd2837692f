"""Pixel-producing stages on a simulated processor, for ``test_same_pixels.py``.

``python stages_on_a_processor.py INPUT OUTPUT``: INPUT holds ``video.mp4``, a 4:2:0 video of a face, and
``clip.mp4``, a lossless working clip. Writes ``pixels.json``, a hash of every picture or clip produced, and
``arrays.npz``, float results that are compared element by element.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import processors
import torch

from deepfakemnist.animate.fomm.animator import FommAnimator
from deepfakemnist.animate.fomm.checkpoint import load_checkpoint
from deepfakemnist.config.dataset import CompressSettings, FrameSettings, Quality
from deepfakemnist.config.perturbations import LEVELS
from deepfakemnist.config.stages import CropSettings
from deepfakemnist.faces.crop import crop_video
from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.faces.policies import CropBox
from deepfakemnist.media.compress import compress_shard
from deepfakemnist.media.decode import read_clip, read_frames, read_pictures
from deepfakemnist.media.frames import frames_shard
from deepfakemnist.media.ingest import ingest_video
from deepfakemnist.media.pixels import pixels_sha256
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import CROPPED, Row
from deepfakemnist.training.robustness import perturb

WEIGHTS = Path(__file__).parents[2] / "resources" / "animators" / "compact-256.safetensors"
#: Boxes resized to 256×256: shrunk and enlarged, with even and odd edges, inside and partly outside the picture.
BOXES = {
    "shrunk": CropBox(60, 40, 300, 300),
    "shrunk, odd": CropBox(61, 41, 301, 301),
    "shrunk, padded": CropBox(-20, -31, 420, 420),
    "enlarged": CropBox(120, 80, 180, 180),
    "enlarged, odd": CropBox(121, 81, 181, 183),
    "enlarged, padded": CropBox(-5, 10, 222, 222),
    "as it is": CropBox(11, 10, 256, 256),
}
QUALITIES = {
    "raw": Quality(qp=0),
    "q20": Quality(qp=20),
    "c23": Quality(crf=23),
    "c40": Quality(crf=40),
    "c23_444": Quality(crf=23, pix_fmt="yuv444p"),
    "shrunk": Quality(crf=23, shrink_to=100),
    "again": Quality(crf=30, after="c23"),
}
_OK = {"status": "ok", "reason": "", "detail": ""}


def source_row(video: Path, **changes: object) -> Row:
    """Return the row that ingest writes for a video."""
    sheet = {"video_id": "v", "role": "source", "person_id": "p", "action": "", "path": str(video)}
    row = {**sheet, "start_s": None, "end_s": None, "licence": "", "cropped": False, **changes}
    return {**row, **ingest_video(row), **_OK}


def read_stage(video: Path) -> Iterator[tuple[str, str]]:
    """Facts of ingest, and frames as every later stage reads them."""
    row = source_row(video)
    facts = json.dumps({name: row[name] for name in sorted(row) if name != "path"})
    yield "ingest", hashlib.sha256(facts.encode()).hexdigest()
    yield "read", pixels_sha256(read_frames(video))
    yield "read at 10 fps", pixels_sha256(read_frames(video, fps=10, start_s=0.1))


def crop_stage(video: Path, out: Path) -> Iterator[tuple[str, str]]:
    """Crops by given boxes, because detections are compared with a tolerance instead."""
    detector = FaceDetector(max_side=320)
    boxes = [[0.0, 61.0, 41.0, 300.0, 301.0]]
    settings = CropSettings(policy="vox-metadata", min_frames=4)
    row = source_row(video, boxes=boxes, reference_width=480, reference_height=360)
    yield "crop", crop_video(row, out / "crops", settings, detector)["pixels_sha256"]
    for number, (picture, _) in enumerate(read_pictures(video)):
        if number == 3:
            for name, box in BOXES.items():
                yield f"crop {name}", pixels_sha256([box.crop(picture, 256)])
            yield "detector input", pixels_sha256([picture.shrunk(320)])


def compress_stage(clip: Path, out: Path) -> Iterator[tuple[str, str]]:
    """Every kind of x264 encode, and its still frames."""
    pictures = read_clip(clip)
    row = {"video_id": "v", "path": str(clip), "frames": len(pictures), "pixels_sha256": pixels_sha256(pictures)}
    write_table([{**row, **_OK}], out / "clips.parquet", CROPPED)
    table, settings = out / "compressed.parquet", CompressSettings(qualities=QUALITIES)
    compress_shard(out / "clips.parquet", table, out / "compressed", label=0, settings=settings, fps=25.0, code="c0de")
    for encoded in read_rows(table):
        yield f"compress {encoded['quality']}", encoded["pixels_sha256"]
    frames_shard(table, out / "frames.parquet", out / "parts", settings=FrameSettings(per_clip=3), code="c0de")
    for frame in read_rows(out / "frames.parquet"):
        yield f"frame {frame['frame_index']} of {frame['quality']}", hashlib.sha256(frame["image"]).hexdigest()


def perturb_stage(clip: Path) -> Iterator[tuple[str, str]]:
    """Every perturbation of test frames, on a picture with odd sides."""
    picture = np.ascontiguousarray(read_clip(clip)[0][3:220, 5:240])
    for kind, levels in LEVELS.items():
        for level in levels:
            yield f"perturb {kind} {level:g}", pixels_sha256([perturb(picture, kind, level, seed=7)])


def network_outputs(video: Path, clip: Path) -> dict[str, np.ndarray]:
    """Return float32 outputs of networks, and a matrix product that shows the effect of the processor."""
    detector = FaceDetector(max_side=320)
    faces = [detector.detect_in(picture)[0][0].box for picture, _ in read_pictures(video)]
    pictures = read_clip(clip)
    animator = FommAnimator(load_checkpoint(WEIGHTS), precision="exact", batch_size=4, device="cpu")
    motion = animator.prepare_driving(pictures[:8:2])
    rendered = np.stack(list(animator.render(animator.prepare_source(pictures[8]), motion)))
    rng = np.random.default_rng(0)
    product = rng.standard_normal((64, 300), np.float32) @ rng.standard_normal((300, 64), np.float32)
    return {"boxes": np.array(faces), "keypoints": motion["value"], "fomm": rendered, "product": product}


def main(given: Path, out: Path) -> None:
    """Run all stages and write their results."""
    processors.limit_libav()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    video, clip = given / "video.mp4", given / "clip.mp4"
    pixels = {
        **dict(read_stage(video)),
        **dict(crop_stage(video, out)),
        **dict(compress_stage(clip, out)),
        **dict(perturb_stage(clip)),
    }
    (out / "pixels.json").write_text(json.dumps({"pixels": pixels, "report": processors.report()}))
    np.savez(out / "arrays.npz", **network_outputs(video, clip))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
