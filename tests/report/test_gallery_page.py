"""Gallery of the report: which clips it carries, their marks and words, and what it says where something is missing."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import gallery_run
import numpy as np
import pytest
import report_pages
from PIL import Image

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.media.decode import read_frames
from deepfakemnist.report.gallery_clips import LEVELS, Level, Shelf, Take, encode_h264, peak_of
from deepfakemnist.report.gallery_page import write_gallery_page
from deepfakemnist.report.gallery_tables import GalleryTables
from deepfakemnist.tables.dataset_schemas import VIDEOS
from deepfakemnist.tables.files import read_rows, write_table

SETTINGS = gallery_run.SETTINGS


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> GalleryTables:
    return gallery_run.write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def page(tables: GalleryTables) -> Path:
    path = tables.videos.parent / "gallery.html"
    write_gallery_page(tables, path, SETTINGS, ["Invented."])
    return path


def groups(path: Path) -> dict[str, str]:
    """Return id of the fake → HTML of its group."""
    parts = re.findall(r'<article class="group" .*?</article>', path.read_text(encoding="utf-8"), flags=re.S)
    return {re.search(r'aria-label="[^"]*, ([^"]+)"', part)[1]: part for part in parts}  # type: ignore[index]


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def clips(path: Path) -> dict[str, bytes]:
    found = re.findall(r'id="(clip-\d+)">([^<]+)<', path.read_text(encoding="utf-8"))
    return {name: base64.b64decode(data) for name, data in found}


def stills(group: str) -> list[np.ndarray]:
    found = re.findall(r'poster="data:image/webp;base64,([^"]+)"', group)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"), int) for data in found]


def test_every_group_names_its_clips_figures_and_verdicts(page: Path) -> None:
    found = groups(page)
    assert list(found) == ["s1@yaw-d2", "s2@yaw-d2", "s1@nod-d1", "s2@nod-d1"], "in the paper's order of actions"
    text = words(found["s1@nod-d1"])
    assert "nod by fomm accepted transfer closest to 1 identity kept best" in text
    assert "source · real s1 driver · real nod-d1 fake · SYNTHETIC s1@nod-d1" in text
    assert "split test transfer 1.00 identity kept 0.80 sharpness ratio –" in text
    assert "local live 1.2 (threshold 1)" in text
    text = words(found["s2@yaw-d2"])
    assert "yaw by fomm rejected source" in text and "local not live 0.2 (threshold 1) vendor not sent –" in text
    assert "Rejected: liveness: local: score 0.2 &lt;threshold&gt;" in text


def test_fakes_are_marked_in_stills_and_clips_and_reals_are_not(page: Path, tmp_path: Path) -> None:
    group = groups(page)["s1@nod-d1"]
    names = re.findall(r'data-clip="(clip-\d+)"', group)
    first_frames = []
    for name in names:
        (tmp_path / f"{name}.mp4").write_bytes(clips(page)[name])
        first_frames.append(next(read_frames(tmp_path / f"{name}.mp4")).astype(int))
    for pictures in (stills(group), first_frames):
        source, driver, fake = (picture[:8] for picture in pictures)
        assert source.std() < 3 and driver.std() < 3
        assert fake.std() > 10 and fake.max() > 150 and fake.min() < 60, "white letters on a dark band"


def test_stills_show_the_greatest_change_of_driver_and_fake_and_the_frame_of_the_source_that_was_animated(
    page: Path,
) -> None:
    source, driver, fake = (picture[42, 32] for picture in stills(groups(page)["s1@nod-d1"]))
    assert source.max() < 60 and driver.min() > 200 and fake.min() > 200


def test_a_source_of_several_fakes_is_carried_once_and_clips_are_cut_at_the_same_frames(
    page: Path, tmp_path: Path
) -> None:
    # 2 sources, 2 drivers, 4 fakes, and one fake at two qualities.
    assert len(clips(page)) == 10
    for name, data in clips(page).items():
        (tmp_path / f"{name}.mp4").write_bytes(data)
    names = re.findall(r'data-clip="(clip-\d+)"', groups(page)["s1@nod-d1"])
    bright = [
        [number for number, frame in enumerate(read_frames(tmp_path / f"{name}.mp4")) if frame[42, 32].min() > 200]
        for name in names[1:]
    ]
    assert bright[0] and bright[0] == bright[1]


def test_one_fake_is_shown_at_every_quality_with_its_similarity(page: Path) -> None:
    text = report_pages.text(page)
    assert "raw · SYNTHETIC size, kB: 12 SSIM: 0.900 c40 · SYNTHETIC size, kB: 12 PSNR, dB: 31.4 SSIM: 0.900" in text


def test_actions_without_a_fake_are_named_with_the_reason(page: Path) -> None:
    text = report_pages.text(page)
    assert "smile : 1 left out at plan: No driver of the action was left." in text
    assert "surprise : Not among plan.actions." in text
    assert "Invented." in text


def test_filters_offer_what_tells_fakes_apart(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    offered = {name: words(options) for name, options in re.findall(r'data-filter="(\w+)">(.*?)</select>', html)}
    assert offered == {"action": "all yaw nod", "split": "all train test", "verdict": "all accepted rejected"}


@pytest.mark.parametrize("megabytes", [0.0, 0.004, 0.02])
def test_clips_stay_below_the_limit_and_what_does_not_fit_is_a_still(
    tables: GalleryTables, tmp_path: Path, megabytes: float
) -> None:
    write_gallery_page(tables, tmp_path / "page.html", replace(SETTINGS, megabytes=megabytes))
    found = clips(tmp_path / "page.html")
    assert sum(map(len, found.values())) <= megabytes * 1e6
    shown = groups(tmp_path / "page.html")
    assert len(shown) == 4 and all(len(stills(group)) == 3 for group in shown.values())
    assert any("still only" in group for group in shown.values())
    if not megabytes:
        assert "Stills alone" in report_pages.text(tmp_path / "page.html") and not found


def test_removed_clips_are_said_to_be_removed(tmp_path: Path) -> None:
    tables = gallery_run.write_run(tmp_path)
    for name in (gallery_run.REJECTED, "yaw-d2"):
        (tmp_path / f"clips/{name}.mp4").unlink()
    (tmp_path / "clips/s1.mp4").write_bytes(b"damaged")
    write_gallery_page(tables, tmp_path / "page.html", SETTINGS)
    found = groups(tmp_path / "page.html")
    assert "clip removed or not readable" in found["s2@yaw-d2"] and "still only" in found["s2@yaw-d2"]
    assert len(stills(found["s2@yaw-d2"])) == 1, "the source is there"
    assert len(stills(found["s1@yaw-d2"])) == 1 and 'class="play"' in found["s1@yaw-d2"]
    assert len(stills(found["s2@nod-d1"])) == 3


def test_a_released_tree_shows_its_fakes_and_what_is_known_of_them(tables: GalleryTables, tmp_path: Path) -> None:
    rows = [row | {"animator": "", "driver_id": "", "liveness": ""} for row in read_rows(tables.videos)]
    write_table(rows, tmp_path / "videos.parquet", VIDEOS)
    tree = replace(gallery_run.released(tables), videos=tmp_path / "videos.parquet")
    write_gallery_page(tree, tmp_path / "page.html", replace(SETTINGS, planned=None))
    found = groups(tmp_path / "page.html")
    assert set(found) == {"s1@nod-d1", "s1@yaw-d2"} and "the only accepted one" in found["s1@yaw-d2"]
    assert "not known" in found["s1@nod-d1"] and len(stills(found["s1@nod-d1"])) == 2
    assert "surprise : None in the published tree." in report_pages.text(tmp_path / "page.html")


def test_a_run_without_an_accepted_fake_has_a_gallery(tables: GalleryTables, tmp_path: Path) -> None:
    write_table([row for row in read_rows(tables.videos) if not row["label"]], tmp_path / "videos.parquet", VIDEOS)
    none = replace(tables, videos=tmp_path / "videos.parquet")
    write_gallery_page(none, tmp_path / "page.html", SETTINGS)
    assert list(groups(tmp_path / "page.html")) == [gallery_run.REJECTED]
    assert "No fake was accepted" in report_pages.text(tmp_path / "page.html")
    write_table([], tmp_path / "videos.parquet", VIDEOS)
    write_gallery_page(replace(gallery_run.released(none)), tmp_path / "page.html", SETTINGS)
    assert "No fake was made." in report_pages.text(tmp_path / "page.html")


def test_of_many_animators_a_bounded_number_of_fakes_is_shown_and_the_page_says_how_many_are_not(
    tables: GalleryTables, tmp_path: Path
) -> None:
    row = next(row for row in read_rows(tables.videos) if row["label"])
    rows = [
        {**row, "video_id": f"{animator}-{action}", "animator": f"animator{animator}", "action": action, "path": "gone"}
        for animator in range(10)
        for action in ACTIONS
    ]
    write_table(rows, tmp_path / "videos.parquet", VIDEOS)
    tree = replace(gallery_run.released(tables), videos=tmp_path / "videos.parquet")
    write_gallery_page(tree, tmp_path / "page.html", SETTINGS)
    found = groups(tmp_path / "page.html")
    assert len(found) == 60 and len({name.split("-")[0] for name in found}) == 10
    assert {name.split("-")[1] for name in found} == set(ACTIONS)
    assert "Not shown for space: 40 more fakes" in report_pages.text(tmp_path / "page.html")


def test_clips_are_as_good_as_the_limit_lets_them_be(tmp_path: Path) -> None:
    path = tmp_path / "noise.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (12, 64, 64, 3), np.uint8)
    path.write_bytes(encode_h264(iter(noise), 4, 1))
    take = Take(str(path), 12, 6, 6, is_synthetic=False)
    sizes = [Shelf(9, 4).bytes_of([take], level) for level in LEVELS]
    assert sizes == sorted(sizes, reverse=True)
    for level, size in zip(LEVELS, sizes, strict=True):
        assert Shelf(size / 1e6, 4).level_for([take]) == level
    assert Shelf(0.0, 4).level_for([take]) == LEVELS[-1]
    assert Shelf(sizes[0] / 1e6 - 1e-6, 4).keep([take], LEVELS[0]) is None


def test_the_cut_is_around_the_greatest_change_and_never_longer_than_the_clip(tmp_path: Path) -> None:
    path = tmp_path / "late.mp4"
    path.write_bytes(encode_h264(iter(gallery_run.frames(60)), 10, 10))
    assert peak_of(str(path), 20) == gallery_run.PEAK
    assert peak_of(str(path), gallery_run.PEAK - 2) == gallery_run.PEAK - 3
    shelf = Shelf(1, 10)
    for name, (frames, seconds, length) in {"all": (20, 9, 20), "part": (20, 0.5, 5), "short": (3, 1, 3)}.items():
        kept = shelf.keep([Take(str(path), frames, min(12, frames - 1), 0, is_synthetic=False)], Level(seconds, 10))
        assert kept is not None
        (tmp_path / f"{name}.mp4").write_bytes(shelf.clips[kept[0]])
        found = [frame[42, 32].min() > 200 for frame in read_frames(tmp_path / f"{name}.mp4")]
        assert len(found) == length and (any(found) or name == "short")
