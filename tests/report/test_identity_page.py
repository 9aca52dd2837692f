"""Report page of the identity audit: pictures beside each finding, and the sources that could not be compared."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import report_pages
from PIL import Image

from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.report.identity_page import write_identity_page
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import IDENTITIES


def test_both_clips_of_a_finding_are_shown_at_three_moments(tmp_path: Path) -> None:
    rows = []
    for name, colour in {"a": (200, 0, 0), "b": (0, 0, 200)}.items():
        clip = write_working_clip(tmp_path / f"{name}.mp4", [np.full((64, 64, 3), colour, np.uint8)] * 7, 25.0)
        rows.append({"video_id": name, "person_id": f"p<{name}", "path": str(clip.path), "frames": 7, "status": "ok"})
    rows.append({"video_id": "c", "person_id": "pc", "status": "rejected", "reason": "no_face", "detail": "of 8"})
    write_table(rows, tmp_path / "identities.parquet", IDENTITIES)
    common = {"person_id": "p<a", "other_person_id": "p<b", "split": "train", "other_split": "test", "reason": ""}
    leak = {**common, "finding": "same_face", "verdict": "leak", "video_id": "a", "other_video_id": "b"}
    gone = {**common, "finding": "two_faces", "verdict": "warning", "video_id": "x", "other_video_id": "y"}
    findings = [{**leak, "distance": 0.123}, {**gone, "distance": 0.7}]
    write_identity_page(findings, [tmp_path / "identities.parquet"], tmp_path / "page.html", ["Demo."])

    path = tmp_path / "page.html"
    text, tables = report_pages.text(path), report_pages.tables(path)
    assert "LEAK. The splits leak: 1 pair of people with the same face across splits: a (train) and b (test)." in text
    assert "To be looked at: 1 person with two faces." in text
    assert "3 sources of 3 person ids; 1 could not be compared." in text
    assert "Demo." in text
    assert tables["Findings"][1][:4] == ["leak: same_face", "p<a and p<b", "train, test", "0.12"]
    assert tables["Findings"][2][4:] == ["x", "y"]
    assert tables["Sources that could not be compared"][1][2] == "no_face"
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)" alt="frames of (\w)">(\w)', path.read_text())
    assert [names for _, *names in pictures] == [["a", "a"], ["b", "b"]]
    red, blue = (np.array(Image.open(io.BytesIO(base64.b64decode(data)))) for data, *_ in pictures)
    assert red.shape == blue.shape == (88, 264, 3)
    assert red[:, :, 0].mean() > 150 > 50 > red[:, :, 2].mean()
    assert blue[:, :, 2].mean() > 150 > 50 > blue[:, :, 0].mean()


def test_without_a_leak_the_page_says_so_first_and_lists_all_findings(tmp_path: Path) -> None:
    write_table([], tmp_path / "identities.parquet", IDENTITIES)
    finding = {"person_id": "p", "other_person_id": "q", "split": "train", "other_split": "train", "reason": "",
               "finding": "similar_face", "verdict": "warning", "distance": 0.4}  # fmt: skip
    findings = [{**finding, "video_id": f"a{n}", "other_video_id": f"b{n}"} for n in range(2500)]
    write_identity_page(findings, [tmp_path / "identities.parquet"], tmp_path / "page.html")
    text = report_pages.text(tmp_path / "page.html")
    assert "No face and no clip of a source is in two splits." in text
    tables = report_pages.tables(tmp_path / "page.html")
    assert len(tables["Findings"]) == 101
    assert len(tables["Further findings, without pictures"]) == 2401
