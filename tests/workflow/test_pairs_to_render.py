"""Export of pairs to render elsewhere: all rounds, tables that are partly filled in, and what cannot be exported."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml

from deepfakemnist.config.load import load_config
from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import pair_id
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.planning.assignment import Assignment
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import CANDIDATES, PLANNED
from deepfakemnist.workflow.pairs_to_render import TABLE, Export, export_pairs
from deepfakemnist.workflow.run_plan import RunPlan

LABEL = "rendered-sora"


@pytest.fixture
def plan(tmp_path: Path) -> RunPlan:
    """A run with rounds, in which another animator comes first."""
    videos = [f"p{number}" for number in range(8)]
    (tmp_path / "sources.tsv").write_text("video_id\tpath\n" + "".join(f"{v}\t{v}.mp4\n" for v in videos))
    (tmp_path / "drivers.tsv").write_text("driver_id\taction\tpath\nd\tyaw\td.mp4\n")
    config = yaml.safe_load(Path("config/config.yaml").read_text(encoding="utf-8"))
    config["sources"]["sheet"], config["drivers"]["sheet"] = (
        str(tmp_path / f"{name}.tsv") for name in ("sources", "drivers")
    )
    config["animators"] = [{"name": "mesh"}, {"name": "rendered", "label": LABEL, "clips": "pairs.csv"}]
    config["plan"] |= {"actions": ["yaw"], "quota": 4, "max_rounds": 3}
    for name in ("source", "driver"):
        write_working_clip(tmp_path / f"{name}.mp4", list(np.full((3, 16, 16, 3), 9, np.uint8)), 25.0)
    return RunPlan(load_config(config), check_files=False)


def write_plan(folder: Path, shard: str, candidates: list[Assignment], **more: object) -> None:
    """Write the table of a shard, whose pairs all show the same clips."""
    rows = [
        {
            "video_id": pair_id(one.source_id, "d"), "source_id": one.source_id, "driver_id": "d",
            "person_id": one.person_id, "driver_person_id": "d", "action": "yaw", "split": one.split,
            "round": one.round, "plan_order": one.plan_order, "animator": one.animator, "best_frame": 1,
            "source_path": str(folder / "source.mp4"), "motion_path": str(folder / "driver.mp4"), "motion_frames": 3,
            "status": "ok", "reason": "", "detail": "", **more,
        }
        for one in candidates
    ]  # fmt: skip
    write_table(rows, folder / f"results/plan/{shard}.parquet", PLANNED)


def shards_of_label(plan: RunPlan) -> list[str]:
    return [shard for shard in plan.first_round.shards if f"+{LABEL}" in shard]


def exported(folder: Path) -> list[dict[str, str]]:
    with (folder / "out" / TABLE).open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_later_round_is_added_to_a_table_that_is_partly_filled_in(plan: RunPlan, tmp_path: Path) -> None:
    results, out = tmp_path / "results", tmp_path / "out"
    first = [one for shard in shards_of_label(plan) for one in plan.first_round.candidates(shard)]
    for shard in shards_of_label(plan):
        write_plan(tmp_path, shard, plan.first_round.candidates(shard))
    assert export_pairs(plan, results, out) == Export(len(first), 0, [])
    rows = exported(tmp_path)
    assert {(row["animator"], row["round"], row["frames"], row["size"]) for row in rows} == {(LABEL, "1", "3", "16")}
    filled = [{**row, "animator": "sora", "licence": "a, b", "note": "done"} for row in rows]
    with (out / TABLE).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(filled[0]))
        writer.writeheader()
        writer.writerows(filled)

    later = Assignment("p9", "p9", "yaw", "train", 5, 2, 0, LABEL)
    write_table([vars(later)], results / "rounds/round2.parquet", CANDIDATES)
    (shard,) = plan.later_round([later]).shards
    write_plan(tmp_path, shard, [later])
    assert export_pairs(plan, results, out) == Export(1, len(first), [])
    assert exported(tmp_path)[:-1] == filled
    assert (exported(tmp_path)[-1]["source_id"], exported(tmp_path)[-1]["round"]) == ("p9", "2")
    assert export_pairs(plan, results, out) == Export(0, len(first) + 1, [])


def test_what_cannot_be_exported_is_said(plan: RunPlan, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tables of the plan are missing.*snakemake plan_pairs"):
        export_pairs(plan, tmp_path / "results", tmp_path / "out")
    for shard in shards_of_label(plan):
        write_plan(tmp_path, shard, plan.first_round.candidates(shard)[:1], motion_path=str(tmp_path / "gone.mp4"))
    found = export_pairs(plan, tmp_path / "results", tmp_path / "out")
    assert found.new == 0 and len(found.left_out) == len(shards_of_label(plan))
    assert "missing_file" in found.left_out[0]
    mesh = plan.config.model_copy(update={"animators": plan.config.animators[:1]})
    with pytest.raises(ConfigError, match="no animator with name: rendered"):
        export_pairs(RunPlan(mesh, check_files=False), tmp_path / "results", tmp_path / "out")
