"""Check of docs/adding_a_protocol.md, run by test_howto_pages.py in a copy of the package."""

import os
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

import deepfakemnist
from deepfakemnist.config.detectors import PROTOCOLS, EvaluationSettings
from deepfakemnist.config.load import Config
from deepfakemnist.evaluation.stage import evaluate
from deepfakemnist.report.detector_pages import write_protocols_page
from deepfakemnist.tables.dataset_schemas import PREDICTIONS
from deepfakemnist.tables.files import write_table

HERE = Path.cwd()
PAGE = Path(os.environ["HOWTO_PAGE"]).read_text(encoding="utf-8")


def test_the_copy_is_what_is_tested():
    assert Path(deepfakemnist.__file__).is_relative_to(HERE)


def test_the_protocol_of_the_page_is_a_table_of_the_reports_page(tmp_path):
    raw: dict = {}
    for name in ("config/config.yaml", "config/presets/demo.yaml", "worst.yaml"):
        update_config(raw, yaml.safe_load((HERE / name).read_text(encoding="utf-8")))
    protocols = Config.model_validate(raw).evaluation.protocols
    assert protocols == ["quality", "worst_action"]
    assert "worst_action" in PROTOCOLS
    rows = []
    for person in range(4):
        for action in ("", "blink", "nod"):
            # Every nod is missed, and every other blink.
            found = action == "blink" and person % 2 == 0
            row = {"video_id": f"p{person}{action}", "label": int(bool(action)), "action": action, "quality": "c23"}
            row |= {"person_id": f"p{person}", "split": "test", "frame_index": 0, "logit": 0.0}
            row |= {"score": 0.9 if found else 0.1, "detector": "meso4", "trained_on": "c23", "checkpoint_sha256": "0"}
            rows += [{**row, "seed": seed} for seed in (0, 1)]
    write_table(rows, tmp_path / "p.parquet", PREDICTIONS)
    metrics, actions, pairs = (tmp_path / f"{name}.tsv" for name in ("metrics", "actions", "pairs"))
    evaluate([tmp_path / "p.parquet"], metrics, actions, pairs, EvaluationSettings())
    write_protocols_page(metrics, actions, None, [], protocols, tmp_path / "page.html")
    tables = (tmp_path / "page.html").read_text(encoding="utf-8").split("<h2>")
    (worst,) = [part for part in tables if part.startswith("13. Worst action (video level)</h2>")]
    assert "nod" in worst and "0 [4 people] ± 0" in worst and "blink" not in worst
    write_protocols_page(metrics, actions, None, [], PROTOCOLS, tmp_path / "all.html")


def test_the_messages_of_the_page():
    with pytest.raises(ValueError) as error:
        EvaluationSettings(protocols=["worst"])
    assert "Input should be 'quality', 'cross_quality'" in str(error.value)
    assert "Input should be 'quality', 'cross_quality'" in PAGE
