"""What intervals hold for where test shows people who are in train: not for new people."""

import pytest

from deepfakemnist.config.detectors import EvaluationSettings
from deepfakemnist.evaluation.stage import evaluate
from deepfakemnist.tables.dataset_schemas import PREDICTIONS, VIDEOS
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.tsv import read_tsv

PEOPLE = 12
NEW, SEEN = (
    "new people; these 1 drivers; this seed",
    "new videos; these 1 drivers; this seed; people partly seen in training",
)


def video_rows(split_of_b):
    """A real and a fake in two clips each of twelve people: clip a in test of both splits, clip b in ``split_of_b``."""
    return [
        {
            "video_id": f"p{n}#{clip}{'@d' * label}", "label": label, "quality": "c23", "action": "nod" * label,
            "split": "test" if clip == "a" else split_of_b, "split_paper": "test" if clip == "a" else "train",
            "person_id": f"p{n}", "source_id": f"p{n}#{clip}", "driver_person_id": "d" * label,
        }
        for n in range(PEOPLE) for clip in "ab" for label in (0, 1)
    ]  # fmt: skip


@pytest.mark.parametrize(("split_of_b", "by_person"), [("test", NEW), ("train", SEEN)])
def test_a_split_by_video_does_not_generalise_to_new_people(tmp_path, split_of_b, by_person):
    videos = video_rows(split_of_b)
    predictions = [
        {
            **{name: row[name] for name in ("video_id", "label", "action", "person_id")}, "quality": quality,
            "frame_index": 0, "split": "test", "logit": 0.0, "score": 0.8 if row["label"] else 0.2, "detector": "meso4",
            "trained_on": trained_on, "seed": 0, "checkpoint_sha256": "0",
        }
        for row in videos if "#a" in row["video_id"]
        for trained_on, quality in (("c23", "c23"), ("c23-split-paper", "c23"), ("c23-split-paper", "other:c23"))
    ]  # fmt: skip
    write_table(videos, tmp_path / "v.parquet", VIDEOS)
    write_table(predictions, tmp_path / "p.parquet", PREDICTIONS)
    tables = [tmp_path / f"{name}.tsv" for name in ("metrics", "actions", "pairs", "groups")]
    details = {"groups": tables[3]}
    evaluate([tmp_path / "p.parquet"], *tables[:3], EvaluationSettings(), tmp_path / "v.parquet", details=details)
    unnamed = [{**row, "person_id": row["video_id"]} if row["label"] else row for row in videos]
    write_table(unnamed, tmp_path / "unnamed.parquet", VIDEOS)
    other = [tmp_path / f"unnamed_{name}.tsv" for name in ("metrics", "actions", "pairs")]
    evaluate([tmp_path / "p.parquet"], *other, EvaluationSettings(), tmp_path / "unnamed.parquet")
    assert {row["generalises_to"] for row in read_tsv(other[0]) if ":" not in row["tested_on"]} == {
        "new videos; these 1 drivers; this seed; people not known"
    }
    for path in (tables[0], tables[1], tables[3]):
        holds = {(row["trained_on"], row["tested_on"]): row["generalises_to"] for row in read_tsv(path)}
        assert holds["c23", "c23"] == by_person
        assert holds["c23-split-paper", "c23"] == SEEN
        assert holds["c23-split-paper", "other:c23"] == NEW  # other people are those of another dataset
