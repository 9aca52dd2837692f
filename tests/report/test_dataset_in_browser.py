"""Charts of the pages on dataset and fakes in Chromium: bars have a width, small drawings fit a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import accessibility, cut_off, opened, wait_until_shown
from playwright.sync_api import Browser, Page

from deepfakemnist.report.animation_charts import METRICS, metric_chart
from deepfakemnist.report.crop_statistics import crop_chart
from deepfakemnist.report.liveness_charts import pass_rate_chart, score_charts
from deepfakemnist.report.pages import write_page
from deepfakemnist.report.parts import Chart
from deepfakemnist.tables.schemas import CROPPED, Row

pytestmark = pytest.mark.slow

#: Left edges and widths of the bars of each drawing.
BARS = """() => [...document.querySelectorAll("section.chart")].map(section => [
  section.id,
  [...section.querySelectorAll(".drawing path[aria-roledescription=bar]")].map(bar => {
    const box = bar.getBoundingClientRect();
    return [Math.round(box.left), Math.round(box.width * 10) / 10];
  }),
])"""


def charts() -> list[Chart | None]:
    verdicts: list[Row] = [
        {"provider": "local", "status": "ok", "live": score >= 0.5, "score": score, "threshold": 0.5}
        for score in (0.1, 0.4, 0.41, 0.7, 0.9)
    ]
    names = ("face_px", "sharpness", "brightness", "face_motion", "yaw_range", "roll_range")
    crops: list[Row] = [
        {
            **dict.fromkeys(CROPPED.names),
            "video_id": f"v{n}",
            "person_id": f"p{n}",
            "role": role,
            **dict.fromkeys(names, n),
        }
        for role in ("source", "driver")
        for n in range(9)
    ]
    fakes: list[Row] = [
        {
            "video_id": f"f{n}",
            "person_id": "p",
            "action": "nod",
            "animator": label,
            "transfer": n / 700,
            "tearing": n / 9,
        }
        for label in ("mesh", "fomm")
        for n in range(400)
    ]
    rates: list[Row] = [
        {"provider": provider, "action": action, "live": 3, "verdicts": 4}
        for provider in ("local", "all providers")
        for action in ("nod", "all")
    ]
    metrics = {metric.column: metric for metric in METRICS}
    return [
        *score_charts(verdicts),
        crop_chart(crops),
        metric_chart(fakes, metrics["transfer"]),
        metric_chart(fakes[:9], metrics["tearing"]),
        pass_rate_chart(rates, 4),
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dataset") / "page.html"
    write_page(path, "Charts", "Charts of made-up numbers.", [chart for chart in charts() if chart is not None])
    return path


def bars(page: Page) -> dict[str, list[list[float]]]:
    return dict(page.evaluate(BARS))


def test_bars_of_histograms_and_boxes_lie_apart_and_have_a_width(chromium: Browser, page: Path) -> None:
    with opened(chromium, page, width=1000) as found:
        wait_until_shown(found.page)
        drawn = bars(found.page)
        assert len({left for left, _ in drawn["scores-of-local"]}) == 4, "two of five scores share a bin"
        assert len(drawn["transfer-by-action"]) == 2, "a box per animator"
        assert all(width > 1 for of in drawn.values() for _, width in of)
        assert len(drawn["crop-statistics"]) == 6 * 2 * 9
        assert cut_off(found.page) == []
        assert accessibility(found.page.main_frame) == []


def test_small_histograms_wrap_on_a_phone(chromium: Browser, page: Path) -> None:
    rightmost = {}
    for width in (420, 1400):
        with opened(chromium, page, width=width, scheme="dark") as found:
            wait_until_shown(found.page)
            rightmost[width] = max(left for left, _ in bars(found.page)["crop-statistics"])
            assert cut_off(found.page) == []
    assert rightmost[420] < 420 < rightmost[1400]
