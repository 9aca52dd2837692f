"""Codec, container and defect coverage of the ingest stage: status, reason and frame count per kind of video.

    python benchmarks/kinds_of_video.py     prints the table and writes benchmarks/kinds_of_video.json

ffmpeg generates each file; some are damaged afterwards; then all go through the real ingest stage.
tests/media/test_read.py and test_kinds_of_video.py test the same behaviour in detail.
"""

from __future__ import annotations

import json
import struct
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from deepfakemnist.media.ffmpeg import find_ffmpeg
from deepfakemnist.media.ingest import ingest_shard
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import Row

SOURCE = "-f lavfi -i testsrc2=s=128x96:r=25:d=2,noise=alls=20"
SOUND = "-f lavfi -i sine=d=2"
X264 = "-c:v libx264 -preset ultrafast -g 25 -pix_fmt yuv420p"
X265 = "-c:v libx265 -preset ultrafast -x265-params log-level=none:pools=1"
GLASS = "-vf format=rgba,colorchannelmixer=aa=0.5"

#: Damage done to the bytes of a finished file.
Damage = Callable[[bytearray], bytes]


def truncate(fraction: float) -> Damage:
    """Return a function that keeps the first ``fraction`` of a file."""
    return lambda data: bytes(data[: int(len(data) * fraction)])


def noise(data: bytearray) -> bytes:
    """Overwrite 3000 bytes in the middle."""
    middle = len(data) // 2
    return bytes(data[:middle]) + np.random.default_rng(1).bytes(3000) + bytes(data[middle + 3000 :])


def patch(box: bytes, at: int, value: int, data: bytearray) -> bytes:
    """Overwrite a number in an MP4's index."""
    struct.pack_into(">I", data, data.find(box) + at, value)
    return bytes(data)


#: Kind, file name, ffmpeg arguments and damage.
KINDS: list[tuple[str, str, str, Damage | None]] = [
    ("H.264 in MP4", "a.mp4", f"{SOURCE} {SOUND} {X264}", None),
    ("H.264 in MOV", "a.mov", f"{SOURCE} {X264}", None),
    ("H.264 in MKV", "a.mkv", f"{SOURCE} {X264}", None),
    ("HEVC", "a.mp4", f"{SOURCE} {X265} -pix_fmt yuv420p", None),
    ("AV1", "a.mp4", f"{SOURCE} -c:v libaom-av1 -cpu-used 8 -crf 40 -pix_fmt yuv420p", None),
    ("VP9 in WebM", "a.webm", f"{SOURCE} -c:v libvpx-vp9 -cpu-used 8 -pix_fmt yuv420p", None),
    ("VP8 with hidden frames", "a.webm", f"{SOURCE} -c:v libvpx -auto-alt-ref 1 -lag-in-frames 16", None),
    ("MPEG-4 part 2 in AVI", "a.avi", f"{SOURCE} -c:v mpeg4", None),
    ("GIF", "a.gif", f"{SOURCE}", None),
    ("variable rate", "a.mp4", f"{SOURCE} -vf select='not(between(n\\,10\\,19))' -fps_mode vfr {X264}", None),
    ("rotated by 90 degrees", "r.mp4", "-display_rotation 90 -i {a.mp4} -c copy", None),
    ("rotated by 45 degrees", "r.mp4", "-display_rotation 45 -i {a.mp4} -c copy", None),
    ("two video streams", "a.mkv", f"{SOURCE} {SOURCE} -map 0 -map 1 {X264}", None),
    ("trimmed by an edit list", "t.mp4", "-ss 0.6 -i {a.mp4} -c copy", None),
    ("opaque alpha", "a.mov", f"{SOURCE} -c:v qtrle -pix_fmt argb", None),
    ("7680x4320", "a.mp4", f"-f lavfi -i testsrc2=s=7680x4320:r=25 -frames:v 2 {X264}", None),
    ("one frame", "a.mp4", f"{SOURCE} -frames:v 1 {X264}", None),
    ("10 bits", "a.mp4", f"{SOURCE} {X265} -pix_fmt yuv420p10le", None),
    ("HDR10", "a.mkv", f"{SOURCE} -c:v ffv1 -pix_fmt yuv420p10le -color_trc smpte2084", None),
    ("HLG in 8 bits", "a.mp4", f"{SOURCE} -vf setparams=color_trc=arib-std-b67 {X264}", None),
    ("interlaced", "a.mpg", f"{SOURCE} -c:v mpeg2video -flags +ildct+ilme -pix_fmt yuv420p", None),
    ("transparent", "a.mov", f"{SOURCE} {GLASS} -c:v qtrle -pix_fmt argb", None),
    ("audio only", "a.mp4", f"{SOUND} -c:a aac", None),
    (
        "audio with cover art",
        "a.m4a",
        f"{SOUND} -f lavfi -i color=red:s=64x64 -map 0 -map 1 -c:v mjpeg -frames:v 1 -disposition:v:0 attached_pic",
        None,
    ),
    ("no stream", "a.mp4", f"{SOURCE} -frames:v 0 {X264}", None),
    ("truncated MP4", "a.mp4", f"{SOURCE} {X264}", truncate(0.9)),
    ("truncated MP4, index first", "a.mp4", f"{SOURCE} {X264} -movflags +faststart", truncate(0.9)),
    ("truncated MP4, fragmented", "a.mp4", f"{SOURCE} {X264} -movflags +frag_keyframe+empty_moov", truncate(0.9)),
    ("truncated MKV, 1 % missing", "a.mkv", f"{SOURCE} {X264}", truncate(0.99)),
    ("truncated AVI", "a.avi", f"{SOURCE} {X264}", truncate(0.9)),
    ("corrupt in the middle, MP4", "a.mp4", f"{SOURCE} {X264}", noise),
    ("corrupt in the middle, MKV", "a.mkv", f"{SOURCE} {X264}", noise),
    ("fewer frames than its header says", "a.mp4", f"{SOURCE} {X264}", partial(patch, b"stts", 12, 60)),
    ("an index entry without bytes", "a.mp4", f"{SOURCE} {X264}", partial(patch, b"stsz", 16 + 4 * 30, 0)),
    ("zero bytes", "a.mp4", f"{SOURCE} {X264}", truncate(0)),
    ("a web page named .mp4", "a.mp4", f"{SOURCE} {X264}", lambda _: b"<html>Video unavailable</html>\n" * 9),
    ("a still image", "a.png", f"{SOURCE} -frames:v 1", None),
]


def main() -> None:
    """Generate and ingest every file, then print and write the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [make(folder, number, *kind) for number, kind in enumerate(KINDS)]
        missing: Row = {**rows[0], "video_id": "missing", "path": str(folder / "missing.mp4")}
        ingest_shard([*rows, missing], folder / "i.parquet", "kinds")
        found = read_rows(folder / "i.parquet")
    table = [
        {"kind": kind, "status": row["status"], "reason": row["reason"], "frames": row["frames"]}
        for kind, row in zip([*(kind for kind, *_ in KINDS), "missing file"], found, strict=True)
    ]
    for line in table:
        print("| {kind} | {status} | {reason} | {frames} |".format(**{k: v or "" for k, v in line.items()}))
    Path(__file__).with_suffix(".json").write_text(json.dumps(table, indent=2) + "\n")


def make(folder: Path, number: int, _kind: str, name: str, words: str, damage: Damage | None) -> Row:
    """Generate one file and return its sheet row."""
    path = folder / f"{number:02d}" / name
    path.parent.mkdir()
    arguments = words.replace("{a.mp4}", str(folder / "00" / "a.mp4")).split()
    subprocess.run([find_ffmpeg().path, "-loglevel", "error", *arguments, str(path)], check=True, timeout=120)
    if damage:
        path.write_bytes(damage(bytearray(path.read_bytes())))
    facts = {"person_id": "p", "role": "source", "action": "", "start_s": None, "end_s": None, "licence": None}
    return {**facts, "video_id": f"{number:02d}", "path": str(path), "adapter": "sheet"}


if __name__ == "__main__":
    main()
