"""Command ``deepfakemnist compare``: differences between two detectors, and refused inputs."""

import argparse

import numpy as np
import pytest

from deepfakemnist.cli import compare
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.dataset_schemas import PREDICTIONS, VIDEOS
from deepfakemnist.tables.files import write_table


def write(path, detector, noise, qualities=("raw", "c40"), people=16, seed=0):
    random = np.random.default_rng(seed)
    rows = []
    for quality in qualities:
        for person in range(people):
            for label in (0, 1):
                for number in range(2):
                    logit = (2 * label - 1) + random.normal(0, noise)
                    rows.append(
                        {"video_id": f"p{person}-{label}", "label": label, "quality": quality, "frame_index": number,
                         "action": "nod" if label else "", "person_id": f"p{person}", "split": "test", "logit": logit,
                         "score": 1 / (1 + np.exp(-logit)), "detector": detector, "trained_on": "raw", "seed": 0,
                         "checkpoint_sha256": "0"}
                    )  # fmt: skip
    write_table(rows, path, PREDICTIONS)
    return path


def command(*words):
    parser = argparse.ArgumentParser()
    compare.add_arguments(parser)
    arguments = parser.parse_args([str(word) for word in words])
    return arguments.run(arguments)


def test_the_better_detector_has_the_positive_difference(tmp_path, capsys):
    good = write(tmp_path / "good.parquet", "good", 0.3)
    bad = write(tmp_path / "bad.parquet", "bad", 4.0, seed=1)
    assert command(good, bad) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("good raw 0  minus  bad raw 0; video level, test")
    assert lines[1] == "c40: 32 videos, 16 people; new people; drivers unknown; this seed" and lines[5].startswith(
        "raw: 32"
    )
    difference, low, high = (float(text.strip("[],")) for text in lines[4].split()[1:4])
    assert 0 < low < difference < high
    assert float(lines[4].split()[-1]) < 0.05
    assert command(bad, good, "--level", "frame") == 0
    other = capsys.readouterr().out.splitlines()
    assert other[1].startswith("c40: 32 videos, 16 people") and float(other[4].split()[1]) < 0


def test_tables_that_cannot_be_compared_are_refused(tmp_path):
    good = write(tmp_path / "good.parquet", "good", 0.3)
    few = write(tmp_path / "few.parquet", "few", 0.3, people=8)
    raw = write(tmp_path / "raw.parquet", "raw", 0.3, qualities=("c23",))
    with pytest.raises(ConfigError, match="did not score the same samples"):
        command(good, few)
    with pytest.raises(ConfigError, match=r"share no quality: \['c40', 'raw'\] and \['c23'\]"):
        command(good, raw)
    with pytest.raises(ConfigError, match="holds 0 detector runs in val"):
        command(good, few, "--split", "val")
    with pytest.raises(ConfigError, match="gone.parquet: no such file"):
        command(good, tmp_path / "gone.parquet")
    with pytest.raises(ConfigError, match="videos.parquet: no such file"):
        command(good, good, "--videos", tmp_path / "videos.parquet")


def test_the_videos_say_who_drives_the_fakes(tmp_path, capsys):
    good, bad = write(tmp_path / "good.parquet", "good", 0.3), write(tmp_path / "bad.parquet", "bad", 4.0, seed=1)
    listed = [{"video_id": f"p{n}-1", "label": 1, "quality": "raw", "driver_id": f"d{n % 10}"} for n in range(16)]
    write_table(listed, tmp_path / "videos.parquet", VIDEOS)
    assert command(good, bad, "--videos", tmp_path / "videos.parquet") == 0
    assert capsys.readouterr().out.splitlines()[1] == "c40: 32 videos, 16 people; new people and drivers; this seed"
