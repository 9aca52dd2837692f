"""Stages on inputs of seconds, one process each, so that a full disk, a limit or a kill meets a real stage.

    python small_stages.py STAGE INPUTS FOLDER

writes the stage's table and files below FOLDER, in the frame of the workflow's scripts: a user error ends with its
message and status 1.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace

from deepfakemnist.actors import Actor, load_bank, perform
from deepfakemnist.config.animators.base import AnimatorSettings
from deepfakemnist.config.animators.fomm import DenseMotionModel, FommModel, GeneratorModel, KeypointModel
from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.config.dataset import CompressSettings, FrameSettings, MarkSettings
from deepfakemnist.config.liveness import LocalActionSettings
from deepfakemnist.config.stages import CropSettings
from deepfakemnist.ids import pair_id
from deepfakemnist.media.compress import compress_shard
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.frames import frames_shard
from deepfakemnist.media.ingest import ingest_shard
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import CROPPED, PLANNED

CHECKPOINT = Path(__file__).parents[1] / "data" / "fomm" / "tiny_checkpoint.pth.tar"
PEOPLE = ("anna", "bert")
SIDE, FRAMES = 64, 16
STATUS = {"status": "ok", "reason": "", "detail": ""}
#: Stages, in the order in which each reads the table of one before it.
STAGES = ("ingest", "crop", "extract_motion", "animate", "compress", "frames", "liveness")


def make_inputs(folder: Path) -> None:
    """Film three actors and run every stage once, so that each finds the tables that it reads."""
    bank = load_bank()
    for number, name in enumerate(PEOPLE):
        frames = list(perform(Actor(bank, 3 + 2 * number, seed=number), "yaw", number, FRAMES).frames())
        write_working_clip(folder / "videos" / f"{name}.mp4", frames, 25.0)
    for stage in STAGES:
        run_stage(stage, folder, folder)


def run_stage(stage: str, inputs: Path, folder: Path) -> Path:
    """Run one stage on the tables below ``inputs``, and return its table below ``folder``."""
    table = folder / stage / "shard-0.parquet"
    globals()[f"_{stage}"](inputs, table, table.with_suffix(""))
    return table


def table_of(stage: str, folder: Path) -> Path:
    """Return the table of a stage."""
    return folder / stage / "shard-0.parquet"


def _ingest(inputs: Path, table: Path, folder: Path) -> None:
    common = {"role": "source", "action": None, "start_s": None, "end_s": None}
    rows = [
        {"video_id": name, "path": str(inputs / "videos" / f"{name}.mp4"), "person_id": name, **common}
        for name in PEOPLE
    ]
    ingest_shard(rows, table, code="c0de")


def _crop(inputs: Path, table: Path, folder: Path) -> None:
    from deepfakemnist.faces.crop import crop_shard

    settings = CropSettings(size=SIDE, min_face_motion=0.0)
    crop_shard(table_of("ingest", inputs), table, folder, settings=settings, code="c0de")


def _extract_motion(inputs: Path, table: Path, folder: Path) -> None:
    from deepfakemnist.animate.stages import extract_motion_shard

    extract_motion_shard(table_of("crop", inputs), CHECKPOINT, table, folder, _animator(), "c0de", 1.0, device="cpu")


def _animate(inputs: Path, table: Path, folder: Path) -> None:
    from deepfakemnist.animate.stages import animate_shard

    motion = read_rows(table_of("extract_motion", inputs))[0]
    plan = [
        {
            "video_id": pair_id(row["video_id"], motion["video_id"]), "source_id": row["video_id"],
            "driver_id": motion["video_id"], "person_id": row["person_id"], "driver_person_id": "d", "action": "yaw",
            "split": "train", "round": 1, "plan_order": 0, "source_path": row["path"],
            "source_pixels_sha256": row["pixels_sha256"], "motion_path": motion["path"],
            "motion_frames": motion["frames"], "motion_checkpoint_sha256": _sha256(CHECKPOINT), **STATUS,
        }
        for row in read_rows(table_of("crop", inputs))
    ]  # fmt: skip
    write_table(plan, inputs / "plan.parquet", PLANNED)
    animate_shard(
        inputs / "plan.parquet", CHECKPOINT, table, folder, _animator(), 25.0, "c0de", max_failed_fraction=1.0,
        device="cpu",
    )  # fmt: skip


def _compress(inputs: Path, table: Path, folder: Path) -> None:
    # As a fake, so that files are marked and signed, too.
    settings = CompressSettings(mark=MarkSettings())
    write_table(read_rows(table_of("crop", inputs)), inputs / "clips.parquet", CROPPED)
    compress_shard(inputs / "clips.parquet", table, folder, label=1, settings=settings, fps=25.0, code="c0de")


def _frames(inputs: Path, table: Path, folder: Path) -> None:
    settings = FrameSettings(per_clip=16, png=True)
    frames_shard(table_of("compress", inputs), table, folder, settings=settings, code="c0de")


def _liveness(inputs: Path, table: Path, folder: Path) -> None:
    from deepfakemnist.liveness.stages import liveness_shard

    liveness_shard(
        table_of("animate", inputs), table, LocalActionSettings(provider="local-action"), fps=25.0, code="c0de"
    )


def _animator() -> AnimatorSettings:
    widths = {"block_expansion": 8, "max_features": 32, "num_blocks": 3}
    generator = GeneratorModel(
        block_expansion=8, max_features=32, num_bottleneck_blocks=2, dense_motion=DenseMotionModel(**widths)
    )
    model = FommModel(num_kp=5, keypoints=KeypointModel(**widths), generator=generator)
    return animator_settings(name="fomm", model=model, source_frame=1, batch_size=4)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    from deepfakemnist.workflow.script import stage_script

    stage, inputs, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    with stage_script(SimpleNamespace(log=[], threads=1, resources={}, config={}, rule=stage)):
        run_stage(stage, inputs, folder)
