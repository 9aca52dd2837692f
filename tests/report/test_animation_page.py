"""Page on animation quality: a table of medians per animator, one without a name for a run with one."""

from __future__ import annotations

import re
from pathlib import Path

from deepfakemnist.report.animation_page import write_animation_page
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import ANIMATION_QUALITY

FIGURES = dict.fromkeys(("correlation", "direction", "identity_kept", "sharpness_ratio", "tearing", "face_share"), 0.25)
OK = {"status": "ok", "reason": "", "detail": ""}


def page(folder: Path, transfers: dict[str, float]) -> str:
    rows = [
        {"video_id": f"s@{label}", "action": "nod", "animator": label, "transfer": transfer, **FIGURES, **OK}
        for label, transfer in transfers.items()
    ]
    write_table(rows, folder / "judge.parquet", ANIMATION_QUALITY)
    write_animation_page([folder / "judge.parquet"], [], folder / "page.html")
    return (folder / "page.html").read_text(encoding="utf-8")


def test_animators_are_not_mixed_in_one_median(tmp_path: Path) -> None:
    text = page(tmp_path, {"mesh": 0.9, "fomm": 0.5})
    for label, transfer in (("mesh", "0.90"), ("fomm", "0.50")):
        (table,) = re.findall(rf"<h2>Medians by action, {label}</h2>(.*?)</table>", text, flags=re.S)
        assert transfer in table
    assert "<h2>Medians by action</h2>" not in text


def test_one_animator_is_not_named(tmp_path: Path) -> None:
    assert "<h2>Medians by action</h2>" in page(tmp_path, {"mesh": 0.9})
