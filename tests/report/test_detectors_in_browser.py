"""The page of detectors' metrics in Chromium: menus of charts, and no table cut off."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import accessibility, cut_off, opened, wait_until_shown
from playwright.sync_api import Browser, expect

from deepfakemnist.evaluation.calibration import CURVES_COLUMNS
from deepfakemnist.evaluation.measurement import METRICS_COLUMNS
from deepfakemnist.evaluation.pairs import PAIRS_COLUMNS
from deepfakemnist.report.metrics_page import MetricsTables, write_metrics_page
from deepfakemnist.tables.tsv import write_tsv

pytestmark = pytest.mark.slow
ESTIMATES = ("balanced_accuracy", "auc", "accuracy", "eer", "average_precision", "tpr_at_fpr_1", "tpr_at_fpr_5")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Page of two detectors at three qualities, with intervals, comparisons and curves with bands."""
    folder = tmp_path_factory.mktemp("detectors")
    qualities, detectors = ("raw", "c23", "c40"), ("mesoinception4", "resnet50")
    sizes = {
        "n_videos": 600,
        "n_people": 40,
        "n_without_frames": 0,
        "generalises_to": "new people and drivers; this seed",
    }
    estimates = {
        f"{name}{end}": value for name in ESTIMATES for end, value in (("", 0.8), ("_low", 0.7), ("_high", 0.9))
    }
    runs = [(detector, trained, tested) for detector in detectors for trained in qualities for tested in qualities]
    names = ("detector", "trained_on", "tested_on")
    metrics = [
        {**dict.fromkeys(METRICS_COLUMNS, 0.1), **dict(zip(names, run, strict=True)), **estimates, **sizes}
        | {"split": split, "level": level, "seed": 0}
        for run in runs
        for split in ("test", "val")
        for level in ("frame", "video", "video_median", "video_top")
    ]
    write_tsv(folder / "metrics.tsv", METRICS_COLUMNS, metrics)
    del sizes["n_without_frames"]
    pair = {**dict.fromkeys(PAIRS_COLUMNS, 0.04), **sizes, "detector": "mesoinception4", "other": "resnet50"}
    pair |= {"trained_on": "raw", "tested_on": "raw", "split": "test", "level": "frame", "seeds": "0"}
    write_tsv(folder / "pairs.tsv", PAIRS_COLUMNS, [pair])
    curves = [
        {
            "detector": detector,
            "trained_on": "raw",
            "seed": 0,
            "tested_on": "raw",
            "curve": curve,
            "x": x,
            "y": y,
            "n": 600,
        }
        | ({"low": y / 2, "high": (1 + y) / 2} if curve == "roc_band" else {"low": None, "high": None})
        for detector in detectors
        for curve in ("roc", "roc_band")
        for x, y in ((0, 0), (0.1, 0.7), (1, 1))
    ]
    write_tsv(folder / "curves.tsv", CURVES_COLUMNS, curves)
    tables = MetricsTables(folder / "metrics.tsv", folder / "pairs.tsv", curves=folder / "curves.tsv")
    write_metrics_page(tables, folder / "page.html")
    return folder / "page.html"


def test_the_menu_of_a_chart_chooses_what_it_draws_and_no_table_is_cut_off(chromium: Browser, page: Path) -> None:
    with opened(chromium, page, width=1000) as found:
        wait_until_shown(found.page)
        assert cut_off(found.page) == []
        assert accessibility(found.page.main_frame) == []
        roc = found.page.locator("figure[data-file=roc]")
        lines, bands = roc.locator("g.mark-line path"), roc.locator("g.mark-area path")
        expect(lines).to_have_count(3)  # two detectors and the diagonal
        expect(bands).to_have_count(0)
        roc.locator("select[name=detector]").select_option("resnet50")
        expect(lines).to_have_count(2)
        expect(bands).to_have_count(1)
