"""End-to-end run on real talking-head clips: every source in the ledger, every action animated."""

import csv
import shutil

import pytest
import yaml
from tiny_project import ROOT, Project, tiny_config

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.tables.files import read_rows

pytestmark = [pytest.mark.real, pytest.mark.workflow]


def _write_sheet(rows, columns, path, clips):
    """Rewrite a sheet of the real clips with our column names; ``columns`` maps ours to theirs."""
    lines = ["\t".join(columns)]
    for row in rows:
        values = {ours: row[theirs] for ours, theirs in columns.items()}
        lines.append("\t".join({**values, "path": str(clips / values["path"])}.values()))
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def dataset(real_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    clips = real_data / "real"
    with (clips / "sources.tsv").open() as sources, (clips / "drivers.tsv").open() as drivers:
        # Every third: the others cost minutes, and what they alone show is tested stage by stage.
        known = list(csv.DictReader(sources, delimiter="\t"))[::3]
        columns = {"video_id": "video_id", "path": "path", "person_id": "actor_id"}
        _write_sheet(known, columns, folder / "sources.tsv", clips)
        columns = {name: name for name in ("driver_id", "action", "path", "start_s", "end_s")}
        _write_sheet(csv.DictReader(drivers, delimiter="\t"), columns, folder / "drivers.tsv", clips)
    shutil.copytree(ROOT / "config", folder / "config")
    config = tiny_config(folder)
    config["shard_size"] = 6
    config["crop"]["max_frames"] = 20
    config["plan"] = {"actions_per_source": 3}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    project = Project(folder)
    project.run("dataset")
    return folder / "results", {row["video_id"]: row for row in known}


def test_every_source_is_accounted_for_and_usable(dataset):
    results, known = dataset
    ledger = [row for row in read_rows(results / "manifest/ledger.parquet") if row["kind"] == "source"]
    assert {row["video_id"] for row in ledger} == set(known)
    assert {(row["stage"], row["status"]) for row in ledger} == {("frames", "ok")}


def test_probed_facts_match_the_sheet(dataset):
    results, known = dataset
    for row in read_rows((results / "ingest/source").glob("*.parquet")):
        sheet = known[row["video_id"]]
        assert (row["sha256"], row["codec"]) == (sheet["sha256"], sheet["codec"])
        assert (row["width"], row["height"]) == (int(sheet["width"]), int(sheet["height"]))


def test_every_action_is_animated_and_splits_are_disjoint_by_person(dataset):
    results, _ = dataset
    videos = read_rows(results / "manifest/videos.parquet")
    assert {row["action"] for row in videos if row["label"] == 1} == set(ACTIONS)
    splits = {}
    for row in videos:
        splits.setdefault(row["person_id"], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())
