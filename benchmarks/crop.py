"""Crop stage benchmark: CPU cost relative to decoding alone and to FaceForensics++' per-frame HOG detection.

    python benchmarks/crop.py            prints the table and writes benchmarks/crop.json

The inputs are generated talking heads (a portrait shipped by scikit-image, moved, 250 frames, H.264 at crf 23 with
little grain), of the sizes and costs of decoding of real clips: 1.9 to 3.4 ms a frame at 1280x720 and 720x1364, and 0.8
to 1.6 at 700x700. Rows, each in CPU seconds of this process and its children:

* decoding alone, every frame as stored, and as OpenCV's VideoCapture returns it (BGR);
* the crop stage without its encoder: decode once, detect, crop, measure. The goal is 1.5 times decoding alone;
* the lossless encode of the crops alone, and with the read-back that verifies every clip;
* the complete crop stage, and of a source, whose best frame it looks for;
* dlib's HOG detector on every frame and a square of 1.3 times its box, as FaceForensics++' detect_from_video.py does
  before classification, also without an encoder. Needs dlib: pip install dlib-bin==20.0.1.post1
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import cv2
import dlib
import numpy as np
from cpu_time import cpu_seconds
from skimage.data import astronaut

from deepfakemnist.config.stages import CropSettings
from deepfakemnist.faces.crop import choose_shot, crop_frames, crop_video
from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.faces.footage import read_footage
from deepfakemnist.faces.landmarks import FaceLandmarker
from deepfakemnist.faces.policies import POLICIES
from deepfakemnist.faces.quality import brightness, pose_ranges, sharpness
from deepfakemnist.media.decode import read_clip, read_pictures
from deepfakemnist.media.encode import COMMON_OUTPUT, write_working_clip
from deepfakemnist.media.ffmpeg import absolute, find_ffmpeg, frames_input, run_graph
from deepfakemnist.media.probe import probe
from deepfakemnist.tables.schemas import Row

#: Width and height of each video, pixels.
SIZES = ((1280, 720), (700, 700))
FRAMES, FPS, REPEATS = 250, 25.0, 5
HOG_FRAMES = 50  # HOG takes a fifth of a second per frame
FF_SCALE = 1.3
#: As media/encode.py writes working clips.
LOSSLESS = {"vcodec": "libx264rgb", "qp": 0, "preset": "ultrafast", "pix_fmt": "rgb24"}


def main() -> None:
    cv2.setNumThreads(1)
    result = {
        "what": "CPU cost of cropping a talking head, relative to decoding it",
        "video": f"{FRAMES} frames, H.264 crf 23",
        "repeats": REPEATS,
        "sizes": {f"{width}x{height}": measure(width, height) for width, height in SIZES},
        "python": sys.version.split()[0],
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


def measure(width: int, height: int) -> dict[str, object]:
    """Return the costs of a video of this size, and print their ratios."""
    settings = CropSettings(min_face_motion=0)  # a portrait that moves as a whole, which the gate rejects
    detector, hog = FaceDetector(settings.min_score, settings.detect_max_side), dlib.get_frontal_face_detector()
    landmarker = FaceLandmarker(detector=detector)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = film(folder / "head.mp4", width, height)
        row: Row = {"video_id": "head", "path": str(path), "start_s": None, "end_s": None, "role": "source"}
        row |= probe(path)

        def decode() -> None:
            assert sum(repeats for _, repeats in read_pictures(path, fps=FPS)) == FRAMES

        def decode_to_bgr() -> None:
            assert sum(1 for _ in opencv_frames(path)) == FRAMES

        def crop_only() -> None:
            footage = read_footage(row, settings, detector)
            shot, track, _ = choose_shot(footage)
            boxes = POLICIES[settings.policy](track.boxes(shot), footage.width, footage.height, settings)
            pose_ranges(track.faces, footage.width, footage.height)
            crops = enumerate(crop_frames(footage, shot, boxes, settings.size))
            sampled = (crop for number, crop in crops if number % settings.detect_every == 0)
            assert sum(sharpness(crop) > 0 < brightness(crop) for crop in sampled) == FRAMES // settings.detect_every

        def encode() -> None:
            graph = frames_input(settings.size, settings.size, FPS).output(
                absolute(folder / "encoded.mp4"), **LOSSLESS, **COMMON_OUTPUT
            )
            run_graph(graph, find_ffmpeg(), crops)

        def encode_and_check() -> None:
            assert write_working_clip(folder / "encoded.mp4", crops, FPS).frames == FRAMES

        def stage() -> None:
            assert crop_video(row, folder / "crops", settings, detector)["frames"] == FRAMES

        def stage_of_source() -> None:
            assert crop_video(row, folder / "crops", settings, detector, landmarker)["best_frame"] is not None

        crops = read_clip(crop_video(row, folder / "crops", settings, detector)["path"])

        def hog_per_frame() -> None:
            first_frames = islice(opencv_frames(path), HOG_FRAMES)
            assert sum(hog_crop(frame, hog) is not None for frame in first_frames) == HOG_FRAMES

        workloads: dict[str, Callable[[], None]] = {
            "decoding alone": decode,
            "decoding by OpenCV, to BGR": decode_to_bgr,
            "crop stage without its encoder": crop_only,
            "lossless encode of the crops": encode,
            "lossless encode and read-back": encode_and_check,
            "complete crop stage": stage,
            "complete crop stage of a source": stage_of_source,
            "dlib HOG on every frame, no encoder": hog_per_frame,
        }
        times: dict[str, list[float]] = {name: [] for name in workloads}
        for number in range(REPEATS):  # interleaved, so that background load affects all rows equally
            for what, work in workloads.items():
                if what.startswith("dlib") and number > 0:
                    continue  # slow, and nothing to average against a ratio of dozens
                frames = HOG_FRAMES if what.startswith("dlib") else FRAMES
                times[what].append(cpu_seconds(work) / frames)
    medians = {what: statistics.median(values) for what, values in times.items()}
    decoding = medians["decoding alone"]
    ratios = {what: round(value / decoding, 2) for what, value in medians.items()}
    for what, ratio in ratios.items():
        print(f"{width}x{height} {what:40s} {ratio:7.2f}")
    rest = medians["complete crop stage"] - medians["lossless encode and read-back"]
    return {
        "cpu_ms_per_frame_of_decoding_alone": round(1000 * decoding, 2),
        "ratio": ratios,
        "crop_stage_less_encode_and_check": round(rest / decoding, 2),
    }


def film(path: Path, width: int, height: int) -> Path:
    """Write a test video: a swaying portrait over a background with little grain."""
    portrait = cv2.resize(astronaut()[0:300, 60:360], (560, 560), interpolation=cv2.INTER_CUBIC)
    grain = np.random.default_rng(1).normal(0, 0.8, (8, height, width, 1))

    def frames() -> list[np.ndarray]:
        made = []
        for number in range(FRAMES):
            scene = np.full((height, width, 3), (70, 90, 110), np.uint8)
            left, top = (width - 560) / 2 + 60 * np.sin(number / 25), 80 + 20 * np.cos(number / 15)
            matrix = np.array([[1, 0, left], [0, 1, top]], np.float64)
            cv2.warpAffine(portrait, matrix, (width, height), dst=scene, borderMode=cv2.BORDER_TRANSPARENT)
            made.append(np.clip(scene + grain[number % 8], 0, 255).astype(np.uint8))
        return made

    graph = frames_input(width, height, FPS).output(
        absolute(path), vcodec="libx264", crf=23, preset="medium", pix_fmt="yuv420p", **COMMON_OUTPUT
    )
    run_graph(graph, find_ffmpeg(), frames())
    return path


def opencv_frames(path: Path) -> Iterator[np.ndarray]:
    """Yield the frames of a video read with OpenCV, single-threaded."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    while True:
        good, frame = capture.read()
        if not good:
            return
        yield frame


def hog_crop(frame: np.ndarray, hog: dlib.fhog_object_detector) -> np.ndarray | None:
    """Crop a square around the first face that dlib finds in a BGR frame; None without a face."""
    faces = hog(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), 1)
    if not faces:
        return None
    height, width = frame.shape[:2]
    face = faces[0]
    side = int(max(face.width(), face.height()) * FF_SCALE)
    left, top = max(face.center().x - side // 2, 0), max(face.center().y - side // 2, 0)
    side = min(side, width - left, height - top)
    return cv2.resize(frame[top : top + side, left : left + side], (256, 256))


if __name__ == "__main__":
    main()
