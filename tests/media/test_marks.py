"""Synthetic-media marks: comment tag and C2PA manifest leave every pixel unchanged."""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from deepfakemnist.cli.marks import add_arguments
from deepfakemnist.config.dataset import FrameSettings, MarkSettings
from deepfakemnist.errors import ConfigError
from deepfakemnist.media import credentials
from deepfakemnist.media.boxes import boxes, set_comment
from deepfakemnist.media.credentials import SOURCE_TYPE
from deepfakemnist.media.decode import read_clip
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.ffmpeg import find_ffmpeg
from deepfakemnist.media.frames import frames_shard
from deepfakemnist.media.marks import NOTICE, coded_stream, mark_synthetic, read_marks
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import COMPRESSED


@pytest.fixture
def clip(tmp_path: Path, moving: np.ndarray) -> Path:
    return write_working_clip(tmp_path / "clip.mp4", moving, 25).path


def test_an_unmarked_file_has_no_marks(clip: Path) -> None:
    marks = read_marks(clip)
    assert (marks.comment, marks.credentials, marks.synthetic, marks.names) == ("", None, False, "")


def test_both_marks_are_read_back_and_pixels_unchanged(clip: Path, moving: np.ndarray) -> None:
    stream, size = coded_stream(clip), clip.stat().st_size
    mark_synthetic(clip, MarkSettings(), "fomm")
    marks = read_marks(clip)
    assert marks.synthetic and marks.names == "comment,c2pa"
    assert marks.comment.startswith(NOTICE) and "fomm" in marks.comment
    assert marks.credentials == {
        "state": "Valid",
        "source_type": SOURCE_TYPE,
        "software": "fomm",
        "signer": "DeepFakeMnist+ test certificate, not trusted",
    }
    assert coded_stream(clip) == stream
    assert clip.stat().st_size > size
    assert np.array_equal(read_clip(clip), moving)


@pytest.mark.parametrize(
    ("comment", "c2pa", "names"), [(True, False, "comment"), (False, True, "c2pa"), (False, False, "")]
)
def test_each_mark_alone(clip: Path, comment: bool, c2pa: bool, names: str) -> None:
    mark_synthetic(clip, MarkSettings(comment=comment, c2pa=c2pa), "fomm")
    assert read_marks(clip).names == names
    assert read_marks(clip).synthetic == bool(names)


def test_ffmpeg_reads_the_comment(clip: Path) -> None:
    """An independent reader: ffmpeg shares no code with the writer."""
    set_comment(clip, "grün – 100 %")
    shown = subprocess.run([find_ffmpeg().path, "-hide_banner", "-i", str(clip)], capture_output=True)
    assert "comment         : grün – 100 %" in shown.stderr.decode()


def test_a_second_comment_replaces_the_first(clip: Path) -> None:
    set_comment(clip, "a longer first comment")
    once = clip.read_bytes()
    set_comment(clip, "second")
    set_comment(clip, "a longer first comment")
    assert clip.read_bytes() == once


def test_index_after_the_coded_stream(tmp_path: Path, moving: np.ndarray, run_ffmpeg) -> None:
    """Without faststart no chunk offset may change."""
    path = run_ffmpeg("-c:v", "libx264", "-pix_fmt", "yuv420p", tmp_path / "slow.mp4", frames=[*moving])
    kinds = [box.kind for box in boxes(path.read_bytes())]
    assert kinds.index(b"moov") > kinds.index(b"mdat")
    before = read_clip(path)
    mark_synthetic(path, MarkSettings(), "fomm")
    assert np.array_equal(read_clip(path), before)
    assert read_marks(path).names == "comment,c2pa"


def test_a_changed_frame_breaks_the_signature(clip: Path) -> None:
    mark_synthetic(clip, MarkSettings(), "fomm")
    data = bytearray(clip.read_bytes())
    data[-100] ^= 1
    clip.write_bytes(data)
    credentials = read_marks(clip).credentials
    assert credentials is not None and credentials["state"] == "Invalid"


def test_marks_are_invisible_to_training(tmp_path: Path, clip: Path) -> None:
    """Detectors train on the frames table, which is the same with and without marks, column by column."""
    made = []
    for name in ("plain", "marked"):
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(clip.read_bytes())
        if name == "marked":
            mark_synthetic(path, MarkSettings(), "fomm")
        facts = {"path": str(path), "frames": 12, "fps": 25.0}
        row = {"video_id": "v", "label": 1, "quality": "raw", "status": "ok", **facts}
        write_table([row], tmp_path / f"{name}.parquet", COMPRESSED)
        table = tmp_path / f"{name}.frames.parquet"
        settings = FrameSettings(per_clip=5)
        frames_shard(tmp_path / f"{name}.parquet", table, tmp_path / "parts", settings=settings, code="c0de")
        made.append(read_rows(table))
    assert len(made[0]) == 5
    assert made[0] == made[1]


def test_a_user_certificate_needs_its_key(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    settings = MarkSettings(certificate=chain)
    monkeypatch.delenv("DEEPFAKEMNIST_C2PA_KEY", raising=False)
    with pytest.raises(ConfigError, match="the environment variable DEEPFAKEMNIST_C2PA_KEY must name"):
        mark_synthetic(clip, settings, "fomm")
    (tmp_path / "key.pem").write_text("no key")
    monkeypatch.setenv("DEEPFAKEMNIST_C2PA_KEY", str(tmp_path / "key.pem"))
    with pytest.raises(ConfigError, match="compress.mark") as error:
        mark_synthetic(clip, settings, "fomm")
    assert "no key" not in str(error.value)
    assert read_marks(clip).names == ""


def test_a_user_certificate_signs(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "_TEST_SIGNER", "A newspaper")
    chain, key = credentials._test_certificate.__wrapped__()
    (tmp_path / "chain.pem").write_bytes(chain)
    (tmp_path / "key.pem").write_bytes(key)
    monkeypatch.setenv("DEEPFAKEMNIST_C2PA_KEY", str(tmp_path / "key.pem"))
    mark_synthetic(clip, MarkSettings(certificate=tmp_path / "chain.pem"), "fomm")
    found = read_marks(clip).credentials
    assert found is not None and (found["state"], found["signer"]) == ("Valid", "A newspaper")


def test_a_non_mp4_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(b"\x00\x00\x00\x09free")
    with pytest.raises(ValueError, match="claims 9 bytes of 8"):
        set_comment(path, "x")


def test_command_shows_the_marks(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mark_synthetic(clip, MarkSettings(), "fomm")
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    asked = parser.parse_args([str(clip), str(tmp_path / "nothing.mp4")])
    assert asked.run(asked) == 1
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["synthetic"] is True and first["comment"].startswith(NOTICE)
    assert first["c2pa"]["source_type"] == SOURCE_TYPE
    assert second["error"] == "cannot be read: No such file or directory"
