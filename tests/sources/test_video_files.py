"""Video file search: the reader opens every suffix, links are followed once, nothing is silently left out."""

from __future__ import annotations

import os
import re
from pathlib import Path

import av
import numpy as np
import pytest

from deepfakemnist.media.container import open_video
from deepfakemnist.sources.video_files import VIDEO_SUFFIXES, count_left_aside, describe_left_aside, find_videos

#: Codec, and container where the suffix does not name one to ffmpeg.
MADE_AS = {
    **dict.fromkeys(VIDEO_SUFFIXES, ("mpeg4", None)),
    ".gif": ("gif", None), ".ogv": ("libvpx", None), ".webm": ("libvpx", None), ".divx": ("mpeg4", "avi"),
    ".mpe": ("mpeg2video", "mpeg"), ".m2p": ("mpeg2video", "mpeg"), ".vob": ("mpeg2video", "vob"),
    ".mpg": ("mpeg2video", None), ".mpeg": ("mpeg2video", None), ".mxf": ("mpeg2video", None),
    ".flv": ("flv", None), ".f4v": ("libx264", None), ".qt": ("mpeg4", "mov"), ".mj2": ("mpeg4", "mov"),
    ".wmv": ("wmv2", None), ".asf": ("wmv2", None),
}  # fmt: skip


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).touch()


def found(folder: Path, **options: object) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_videos(folder, **options).videos]


@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES))
def test_every_suffix_is_of_a_container_that_opens(suffix: str, tmp_path: Path) -> None:
    codec, container = MADE_AS[suffix]
    path = tmp_path / f"clip{suffix.upper()}"
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height = 176, 144
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        for pixels in np.random.default_rng(1).integers(0, 256, (12, 144, 176, 3), np.uint8):
            picture = av.VideoFrame.from_ndarray(pixels, "rgb24")
            out.mux(stream.encode(picture.reformat(format=stream.pix_fmt)))
        out.mux(stream.encode())
    assert find_videos(tmp_path).videos == [path]
    with open_video(path) as video:
        assert (video.stream.width, video.stream.height) == (176, 144)


def test_linked_folders_are_followed_once_and_without_loops(tmp_path: Path) -> None:
    root = tmp_path / "videos"
    touch(tmp_path, "disk2/c.mp4", "disk2/deep/d.mp4", "videos/p1/a.mp4", "videos/p2/b.mp4", "other/x.mp4")
    links = {
        "elsewhere": tmp_path / "disk2", "elsewhere_again": tmp_path / "disk2", "a_first": root / "p1",
        "p2/loop": root, "p2/up": tmp_path, "p2/self": root / "p2/self",
    }  # fmt: skip
    for name, target in links.items():
        (root / name).symlink_to(target)
    (tmp_path / "disk2/back").symlink_to(root)
    search = find_videos(root)
    # What lies in the folder keeps its own name, although the link sorts before it.
    assert found(root) == ["elsewhere/c.mp4", "elsewhere/deep/d.mp4", "p1/a.mp4", "p2/b.mp4"]
    assert {item.path: item.reason for item in search.left_aside} == {
        **dict.fromkeys(
            ("a_first", "elsewhere/back", "elsewhere_again", "p2/loop", "p2/up"), "folder_searched_already"
        ),
        "p2/self": "broken_link",
    }


def test_a_linked_folder_as_root(tmp_path: Path) -> None:
    touch(tmp_path, "disk/a.mp4")
    (tmp_path / "videos").symlink_to(tmp_path / "disk")
    assert found(tmp_path / "videos") == ["a.mp4"]


def test_second_names_of_a_file_are_left_aside_on_request(tmp_path: Path) -> None:
    touch(tmp_path, "p/real.mp4")
    (tmp_path / "a_link.mp4").symlink_to("p/real.mp4")
    os.link(tmp_path / "p/real.mp4", tmp_path / "q.mp4")
    assert found(tmp_path) == ["a_link.mp4", "p/real.mp4", "q.mp4"]
    search = find_videos(tmp_path, files_once=True)
    assert search.videos == [tmp_path / "p/real.mp4"]
    assert {(item.path, item.reason) for item in search.left_aside} == {
        ("a_link.mp4", "same_file"),
        ("q.mp4", "same_file"),
    }


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("**/*", ["a.mp4", "x/B.MP4", "x/y/c.mp4"]),
        ("*", ["a.mp4"]),
        ("*/*", ["x/B.MP4"]),
        ("**/*.mp4", ["a.mp4", "x/y/c.mp4"]),
        ("x/**/*", ["x/B.MP4", "x/y/c.mp4"]),
        ("**/y/*", ["x/y/c.mp4"]),
    ],
)
def test_patterns_mean_what_they_mean_to_pathlib(pattern: str, names: list[str], tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "x/B.MP4", "x/y/c.mp4")
    assert found(tmp_path, pattern=pattern) == names
    assert names == sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob(pattern) if path.is_file())
    aside = find_videos(tmp_path, pattern).left_aside
    assert {(item.path, item.reason) for item in aside} == {
        (name, "outside_the_pattern") for name in {"a.mp4", "x/B.MP4", "x/y/c.mp4"} - set(names)
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_unreadable_folders_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "open/a.mp4", "shut/b.mp4")
    (tmp_path / "shut").chmod(0)
    try:
        (aside,) = find_videos(tmp_path).left_aside
    finally:
        (tmp_path / "shut").chmod(0o700)
    assert (aside.path, aside.reason, aside.hides_a_video) == ("shut", "unreadable_folder", True)


def test_counts_name_reasons_and_suffixes(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.jpg", "c.JPG", "d.txt", "README", ".hidden/e.mp4", ".part.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    aside = find_videos(tmp_path).left_aside
    assert describe_left_aside(aside) == (
        "4 without a video suffix (.jpg 2, .txt 1, none 1), 2 hidden, 1 neither file nor folder"
    )
    assert count_left_aside(aside)[0] == {"reason": "no_video_suffix", "suffix": ".jpg", "files": 2, "example": "b.jpg"}
    assert describe_left_aside([]) == ""


def test_the_documentation_lists_every_suffix() -> None:
    text = (Path(__file__).parents[2] / "config/README.md").read_text(encoding="utf-8")
    (paragraph,) = re.findall(r"The suffix decides: (.*?);", text, re.DOTALL)
    assert set(re.findall(r"`(\.\w+)`", paragraph)) == VIDEO_SUFFIXES
