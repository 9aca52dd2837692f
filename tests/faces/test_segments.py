"""Windows of a video: what one holds is freed before the next, and a face that leaves and returns is one track."""

import gc
from pathlib import Path

import pytest
from av.filter import Graph

from deepfakemnist.actors.bank import load_bank
from deepfakemnist.actors.cast import CastSettings, film, sources, write_shot
from deepfakemnist.config.stages import CropSettings
from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.faces.segments import read_windows
from deepfakemnist.media import picture
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.picture import Picture

pytestmark = pytest.mark.slow

FRAMES = 40
CAST = CastSettings(
    folder=Path(), heads=1, sources=1, drivers=0, drivers_per_action=0, source_frames=FRAMES, width=320, height=240,
    flaws=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def shots():
    bank, named = load_bank(), {shot.name: shot for shot in sources(CAST)}
    return {name: list(film(named[name], CAST, bank)) for name in ("actor00-1", "no-face")}


def windows(path, settings):
    return read_windows(path, settings, FaceDetector(settings.min_score, settings.detect_max_side))


def alive(kind):
    return sum(type(one) is kind for one in gc.get_objects())


def test_memory_holds_the_pictures_and_filters_of_one_window(tmp_path, monkeypatch):
    monkeypatch.setattr(picture, "_MAX_COPIED_BYTES", -1)  # also those of small pictures, which wait otherwise
    monkeypatch.setattr(picture, "_copied_bytes", 0)
    picture.free_buffers()
    video = tmp_path / "talk.mp4"
    write_shot(sources(CAST)[0], CAST, load_bank(), video)  # in YUV, whose regions filters cut out
    # A box that follows the face needs a filter in every frame. Without cuts and gates, the face is one track.
    settings = CropSettings(size=64, policy="ff-1.3", max_frames=8, min_frames=1, split_shots=False)
    before = alive(Picture), alive(Graph)
    crops, most = 0, (0, 0)
    for window in windows(video, settings):
        (segment,) = window.segments
        crops += sum(1 for _ in segment.crops())
        most = max(most[0], alive(Picture) - before[0]), max(most[1], alive(Graph) - before[1])
    assert crops == FRAMES and segment.track == 1 and segment.continues
    # A window has up to 8 of both; all windows together make 10 filters or more.
    assert most[0] <= 8 and 0 < most[1] <= 8


def test_a_face_that_leaves_and_returns_is_one_track_of_two_segments(shots, tmp_path):
    wall = shots["no-face"][0]
    frames = [*shots["actor00-1"], *[wall] * 35, *shots["actor00-1"]]
    video = write_working_clip(tmp_path / "away.mp4", frames, 25).path
    (window,) = windows(video, CropSettings(size=64, split_shots=False))
    first, second = window.segments
    assert (first.track, second.track) == (1, 1)
    # Detected in every fifth frame: seen last at 35 and again at 75.
    assert (first.from_s, first.to_s) == (0, FRAMES / 25)
    assert (second.from_s, second.to_s) == (75 / 25, len(frames) / 25)
    assert len(list(second.crops())) == len(second.boxes) == 40
