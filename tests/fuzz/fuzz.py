"""Mutation fuzzing of everything that reads what others wrote: python tests/fuzz/fuzz.py TARGET --seconds 300.

Valid inputs are mutated at random, from a seed, and read through the public door. A reader may refuse an input by the
exceptions that its docstring names; anything else is a finding, which is written to ``--out`` with its traceback. So
are a crash of the process (the input lies in ``--out`` as ``current``) and an input that takes more than a few seconds.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import outside_targets
import pyarrow as pa
import torch

from deepfakemnist.animate.fomm.checkpoint import load_checkpoint as load_animator
from deepfakemnist.config.base import MediaLimits
from deepfakemnist.config.sheets import DriverRow, SourceRow
from deepfakemnist.devices.tensor_files import UnreadableTensors, load_tensors
from deepfakemnist.errors import ConfigError, Failed, Rejected
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.ingest import ingest_video
from deepfakemnist.media.limits import limited
from deepfakemnist.media.marks import read_marks
from deepfakemnist.sources.exclusions import read_exclusions
from deepfakemnist.sources.released_manifest import read_manifest
from deepfakemnist.sources.released_trees import read_ffpp
from deepfakemnist.sources.sheets import read_sheet
from deepfakemnist.sources.vox_metadata import read_vox_metadata
from deepfakemnist.sources.voxceleb1 import read_annotation
from deepfakemnist.tables.checksums import DamagedTable, verify_table
from deepfakemnist.tables.dataset_schemas import LEDGER, RELEASED_VIDEOS
from deepfakemnist.tables.files import read_metadata, read_rows, write_table
from deepfakemnist.tables.journal import Entry, Journal
from deepfakemnist.training.checkpoint import load_checkpoint as load_detector
from deepfakemnist.training.checkpoint import save_checkpoint

#: A file of some bytes to what its reader makes of it.
Read = Callable[[Path], object]
#: Tokens that readers stumble over, besides random bytes.
_TOKENS = [
    b"\t", b"\n", b"\r", b'"', b"\0", b"..", b"/", b"\\", b"nan", b"inf", b"-1", b"1e400", b"9" * 30, b"9" * 5000,
    b"[" * 2000,
    b"{}", b"null", b"true", b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"<script>", b"\x1b[2J", b"%s", b"\xff" * 4,
    b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\0", b"x" * 140_000, "٣".encode(),
]  # fmt: skip
_SLOW_S = 20.0


def mutated(generator: random.Random, seeds: list[bytes]) -> bytes:
    """Return one of the seeds with a few changes."""
    data = bytearray(generator.choice(seeds))
    for _ in range(generator.choice((1, 1, 2, 3, 8))):
        at = generator.randrange(len(data) + 1)
        length = min(generator.choice((1, 1, 2, 4, 16, 200)), len(data) - at)
        kind = generator.randrange(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << generator.randrange(8)
        elif kind == 1:
            data[at : at + length] = generator.randbytes(length)
        elif kind == 2:
            token = generator.choice(_TOKENS)
            data[at : at + generator.choice((0, len(token)))] = token
        elif kind == 3:
            del data[at : at + length]
        elif kind == 4:
            data[at:at] = data[at : at + length] * generator.choice((1, 2, 50))
        elif kind == 5:
            del data[at:]
        else:
            other = generator.choice(seeds)
            start = generator.randrange(len(other) + 1)
            data[at : at + length] = other[start : start + length]
    return bytes(data)


class Target:
    """A reader with valid inputs and the exceptions by which it may refuse others."""

    def __init__(self, name: str, seeds: list[bytes], read: Read, *refusals: type[Exception]) -> None:
        self.name, self.seeds, self.read, self.refusals = f"input{name}", seeds, read, refusals


def _sheet(_: Path) -> Target:
    header = b"video_id\tpath\tperson_id\tstart_s\tend_s\tlicence\n"
    seeds = [
        header + b"a\tv/a.mp4\tp\t1.5\t2\tCC0\nid1#b\tb.mp4\t\t\t\t\n",
        b"driver_id\taction\tpath\nd\tnod\td.mp4\n",
    ]

    def read(path: Path) -> None:
        for model in (SourceRow, DriverRow):
            for keep_going in (True, False):
                try:
                    rows = read_sheet(path, model, keep_going).rows
                    assert all(len(row["video_id"]) <= 100 for row in rows)
                except ConfigError:
                    pass

    return Target(".tsv", seeds, read)


def _exclusions(_: Path) -> Target:
    return Target(".tsv", [b"video_id\tperson_id\treason\na\t\tasked\n-b\tp\t\n"], read_exclusions, ConfigError)


def _vox_metadata(folder: Path) -> Target:
    header = b"video_id,start,end,bbox,fps,width,height,partition,person_id\n"
    seeds = [header + b"v,0,90,10-20-110-120,25.0,1280,720,train,id1\nw,5,9,1-2-3-4,25,9,9,test,id2\n"]
    (folder / "videos").mkdir()

    def read(path: Path) -> None:
        sheet = read_vox_metadata(path, folder / "videos")
        write_table(sheet.refused, folder / "ledger.parquet", LEDGER)
        for row in sheet.rows:
            assert Path(row["path"]).parent == folder / "videos", row["path"]
            assert all(np.isfinite([row["start_s"], row["end_s"], *row["boxes"][0]])), row

    return Target(".csv", seeds, read, ConfigError)


def _annotation(_: Path) -> Target:
    head = (
        b"Identity  : \tid1\nReference : \tv\nOffset : \t1\nFV Conf : \t9\nASD Conf : \t8\n\nFRAME \tX \tY \tW \tH \n"
    )

    def read(path: Path) -> None:
        found = read_annotation(path)
        assert np.isfinite(found.boxes).all() and 0 <= found.start_s < found.end_s, found

    return Target(".txt", [head + b"000008 \t1 \t2 \t30 \t40 \n000009 \t1 \t2 \t30 \t40 \n"], read, Failed)


def _table(folder: Path) -> Target:
    row = {"kind": "source", "video_id": "a", "stage": "crop", "status": "ok", "reason": "", "detail": "x" * 99}
    write_table([{**row, "video_id": str(number)} for number in range(30)], folder / "t.parquet", LEDGER, {"a": "b"})

    def read(path: Path) -> None:
        for use in (read_rows, read_metadata, verify_table):
            try:
                use(path)
            except DamagedTable:
                pass
            except (pa.ArrowException, OSError):
                # Of bytes that no page covers the checksum alone tells.
                try:
                    verify_table(path)
                except DamagedTable:
                    continue
                raise

    return Target(".parquet", [(folder / "t.parquet").read_bytes()], read)


def _journal(folder: Path) -> Target:
    journal = Journal(folder / "j.journal")
    for number in range(3):
        journal.append(Entry(f"v{number}", "mark", [{"status": "ok", "path": None, "frames": number}]))

    def read(path: Path) -> None:
        for entry in Journal(path).read().values():
            entry.is_whole()

    return Target(".journal", [(folder / "j.journal").read_bytes()], read)


def _video(folder: Path) -> Target:
    import subprocess

    import imageio_ffmpeg

    write_working_clip(folder / "v.mp4", np.random.default_rng(1).integers(0, 255, (6, 32, 32, 3), np.uint8), 25)
    seeds = [(folder / "v.mp4").read_bytes()]
    encoders = {"mkv": "libx264", "webm": "libvpx", "avi": "mpeg4", "ts": "mpeg2video", "gif": "gif", "flv": "flv"}
    for suffix, codec in encoders.items():
        path = folder / f"v.{suffix}"
        run = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(folder / "v.mp4"), "-c:v", codec, str(path)]
        subprocess.run(run, check=True)
        seeds.append(path.read_bytes())
    limits = MediaLimits(memory_mb=300, pixels=1 << 22, frames=2000)

    def read(path: Path) -> None:
        ingest_video({"path": str(path), "start_s": None, "end_s": None}, limits=limits)

    return Target(".mp4", seeds, read, Failed, Rejected)


def _marks(folder: Path) -> Target:
    write_working_clip(folder / "v.mp4", np.zeros((3, 32, 32, 3), np.uint8), 25)

    def read(path: Path) -> None:
        with limited(MediaLimits(), path):
            read_marks(path)

    return Target(".mp4", [(folder / "v.mp4").read_bytes()], read, Failed, Rejected)


def _manifest(folder: Path) -> Target:
    """Text mutations of the values, since a mutated Parquet file would be refused by its checksum or its pages."""
    shared = {"quality": "c23", "split": "test", "person_id": "p", "source_id": "s"}
    rows = [
        {"video_id": "s", "label": 0, "action": "", "path": "c23/real_dataset/selected_test/s.mp4", **shared},
        {"video_id": "s@d", "label": 1, "action": "nod", "path": "c23/fake_dataset/nod/s@d.mp4", **shared},
    ]
    names = [name for name in rows[0] if name != "label"]
    seeds = ["\n".join(str(row[name]) for name in names).encode() for row in rows]

    def read(path: Path) -> None:
        values = path.read_bytes().decode("utf-8", "replace").split("\n")
        row = {**rows[0], **dict(zip(names, values, strict=False))}
        write_table([row, rows[1]], folder / "manifest/videos.parquet", RELEASED_VIDEOS)
        for one in read_manifest(folder):
            assert Path(one["path"]).resolve().is_relative_to(folder.resolve())
            for name in ("video_id", "quality", "split", "action"):
                assert (folder / f"{one[name] or 'x'}.mp4").resolve().parent == folder.resolve(), one

    return Target(".txt", seeds, read, ConfigError)


def _splits(folder: Path) -> Target:
    tree = folder / "tree"
    for path in ("original_sequences/y/c23/videos/000.mp4", "manipulated_sequences/f/c23/videos/000_003.mp4"):
        (tree / path).parent.mkdir(parents=True)
        (tree / path).touch()
    (tree / "splits").mkdir()

    def read(path: Path) -> None:
        (tree / "splits/train.json").write_bytes(path.read_bytes())
        read_ffpp(tree, 0)

    return Target(".json", [b'[["000", "003"], ["001", "002"]]'], read, ConfigError)


def _tensors(folder: Path) -> Target:
    seeds = []
    for new in (True, False):
        torch.save({"generator": {"a": torch.ones(3)}}, folder / "w", _use_new_zipfile_serialization=new)
        seeds.append((folder / "w").read_bytes())
    return Target(".pth", seeds, load_tensors, UnreadableTensors)


def _checkpoints(folder: Path) -> Target:
    from deepfakemnist.config.detectors import DetectorTraining

    save_checkpoint(folder / "c.safetensors", {"a": torch.ones(3)}, DetectorTraining(name="meso4"), "c23", 1, 0)
    content = {"model": None, "facts": {"align_corners": True}}
    from safetensors.torch import save

    seeds = [
        (folder / "c.safetensors").read_bytes(),
        save({"generator.a": torch.ones(1)}, {"deepfakemnist.fomm.1": json.dumps(content)}),
    ]

    def read(path: Path) -> None:
        for load in (lambda: load_detector(path, torch.device("cpu")), lambda: load_animator(path)):
            try:
                load()
            except ConfigError as error:
                assert "weights_only" not in str(error)

    return Target(".safetensors", seeds, read)


def _outside(make: outside_targets.Maker, folder: Path) -> Target:
    suffix, seeds, read, refusals = make(folder)
    return Target(suffix, seeds, read, *refusals)


TARGETS: dict[str, Callable[[Path], Target]] = {
    "sheet": _sheet,
    "exclusions": _exclusions,
    "vox_metadata": _vox_metadata,
    "annotation": _annotation,
    "table": _table,
    "journal": _journal,
    "video": _video,
    "marks": _marks,
    "manifest": _manifest,
    "splits": _splits,
    "tensors": _tensors,
    "checkpoints": _checkpoints,
    "answers": partial(_outside, outside_targets.answers),
    "http": partial(_outside, outside_targets.http),
    "tree": partial(_outside, outside_targets.tree),
}


class Session:
    """Inputs given to one target, and what was found."""

    def __init__(self, name: str, folder: Path, out: Path) -> None:
        self.name, self.out = name, out
        self.target = TARGETS[name](folder)
        self.runs = self.refused = 0
        self.findings: set[str] = set()
        self._path = folder / self.target.name
        out.mkdir(parents=True, exist_ok=True)

    def give(self, data: bytes) -> None:
        """Have the target read an input; store what it does wrong."""
        self._path.write_bytes(data)
        (self.out / "current").write_bytes(data)  # of a crash nothing else would be left
        started = time.monotonic()
        self.runs += 1
        try:
            self.target.read(self._path)
        except self.target.refusals:
            self.refused += 1
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            self._found(f"{type(error).__name__} {Path(where.filename).name} {where.lineno}", data, str(error))
        if (seconds := time.monotonic() - started) > _SLOW_S:
            self._found(f"{seconds:.0f} s for input {self.runs}", data)

    def report(self) -> int:
        """Print the counts; return the number of findings."""
        print(f"{self.name}: {self.runs} inputs, {self.refused} refused, {len(self.findings)} findings", flush=True)
        return len(self.findings)

    def _found(self, key: str, data: bytes, message: str = "") -> None:
        if key not in self.findings:
            self.findings.add(key)
            (self.out / f"{self.name}-{len(self.findings)}").write_bytes(data)
            (self.out / f"{self.name}-{len(self.findings)}.txt").write_text(traceback.format_exc())
            print(f"{self.name}: {key}: {message:.200}", flush=True)


def fuzz(name: str, seconds: float, seed: int, out: Path) -> int:
    """Fuzz one target with random mutations; return the number of findings."""
    generator = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        session = Session(name, Path(folder), out)
        end = time.monotonic() + seconds
        while session.runs == 0 or time.monotonic() < end:
            session.give(mutated(generator, session.target.seeds) if session.runs else session.target.seeds[0])
    return session.report()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", nargs="+", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=float, default=300, help="per target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("fuzz_findings"))
    given = parser.parse_args()
    wanted = list(TARGETS) if "all" in given.target else given.target
    sys.exit(sum(fuzz(name, given.seconds, given.seed, given.out) for name in wanted) > 0)
