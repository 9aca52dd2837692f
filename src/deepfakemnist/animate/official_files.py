"""Official weight files of animators: sizes, digests and the networks that each layout holds.

No weights were at hand, so every figure is a third party's; the field ``source`` says whose.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Facts of weights of several files: file name → sha256, and the one digest of these.
FILES_FACT, DIGEST_FACT = "files", "sha256_of_the_folder"
_LFS = "a third party's Git-LFS pointer"


@dataclass(frozen=True)
class OfficialFile:
    """A file that the authors of an animator published."""

    animator: str
    name: str
    bytes: int
    sha256: str
    source: str
    """Where size and digest are from."""

    def __str__(self) -> str:
        return f"{self.name} ({self.bytes:,} bytes, sha256 {self.sha256}; both from {self.source}, not confirmed)"


OFFICIAL_FILES = (
    OfficialFile(
        "fomm",
        "vox-cpk.pth.tar",
        728_766_691,
        "abb41ab1f279f26326c0d6e4d20702de6658364665aa1313daa7a63e89ea2b23",
        f"{_LFS} (wisehackermonkey/deepfakes-server)",
    ),
    OfficialFile(
        "tpsmm",
        "vox.pth.tar",
        350_993_469,
        "52ad8c848e2a1d91b621de96fea83faf57ce3b8c1c06424e317f4df1d3998204",
        "a third party's registry of models (t0mer/Rechroma)",
    ),
    OfficialFile(
        "liveportrait",
        "appearance_feature_extractor.pth",
        3_387_959,
        "5279bb8654293dbdf327030b397f107237dd9212fb11dd75b83dfb635211ceb5",
        f"{_LFS} (camenduru/LivePortrait-hf)",
    ),
    OfficialFile(
        "liveportrait",
        "motion_extractor.pth",
        112_545_506,
        "251e6a94ad667a1d0c69526d292677165110ef7f0cf0f6d199f0e414e8aa0ca5",
        f"{_LFS} (camenduru/LivePortrait-hf)",
    ),
    OfficialFile(
        "liveportrait",
        "spade_generator.pth",
        221_813_590,
        "4780afc7909a9f84e24c01d73b31a555ef651521a1fe3b2429bd04534d992aee",
        f"{_LFS} (camenduru/LivePortrait-hf)",
    ),
    OfficialFile(
        "liveportrait",
        "warping_module.pth",
        182_180_086,
        "2f61a6f265fe344f14132364859a78bdbbc2068577170693da57fb96d636e282",
        f"{_LFS} (camenduru/LivePortrait-hf)",
    ),
    OfficialFile(
        "liveportrait",
        "stitching_retargeting_module.pth",
        2_393_098,
        "3652d5a3f95099141a56986aaddec92fadf0a73c87a20fac9a2c07c32b28b611",
        f"{_LFS} (camenduru/LivePortrait-hf)",
    ),
)

#: Networks that identify a layout → what files with them are. The first whose networks are all there applies.
_LAYOUTS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"inpainting_network", "kp_detector"}), "weights of the Thin-Plate-Spline Motion Model (tpsmm)"),
    (frozenset({"bg_predictor", "region_predictor"}), "weights of Articulated Animation (MRAA)"),
    (frozenset({"generator", "kp_detector"}), "weights of the First Order Motion Model (fomm)"),
    (frozenset({"retarget_shoulder"}), "the stitching and retargeting networks of LivePortrait"),
    (frozenset({"motion_extractor", "warping_module"}), "weights of LivePortrait"),
    (frozenset({"gen"}), "weights of LIA"),
)
#: First parts of the tensors' names in a file that is the state dict of one network.
_BARE_LAYOUTS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"dense_motion_network", "third"}), "LivePortrait's warping module"),
    (frozenset({"G_middle_0", "up_0"}), "LivePortrait's SPADE generator"),
    (frozenset({"detector"}), "LivePortrait's motion extractor"),
    (frozenset({"resblocks_3d", "first"}), "LivePortrait's appearance feature extractor"),
    (frozenset({"layer4", "fc"}), "a ResNet"),
)


def official_file(path: Path) -> OfficialFile | None:
    """Return the official file with the name of ``path``."""
    return next((file for file in OFFICIAL_FILES if file.name == path.name), None)


def official_files(animator: str) -> str:
    """Return a sentence that names the official files of an animator; empty where none is known."""
    files = [file for file in OFFICIAL_FILES if file.animator == animator]
    if not files:
        return ""
    text = f"Official weights: {'; '.join(map(str, files))}."
    if any(file.name.endswith(".pth.tar") for file in files):
        text += " Despite its name it is a pickle, not a tar: use it as is."
    return text


def are_official(animator: str, facts: Mapping[str, Any]) -> bool:
    """Return whether weights of several files, as their facts name them, are all of the official ones."""
    files = facts.get(FILES_FACT)
    known = [file for file in OFFICIAL_FILES if file.animator == animator]
    return isinstance(files, Mapping) and bool(known) and all(files.get(file.name) == file.sha256 for file in known)


def layout_of(names: Collection[str]) -> str:
    """Return what a file with these entries is, by the networks of its layout; empty if unknown.

    Args:
        names: entries of the file, whole: names of networks, or of tensors.
    """
    first = {name.partition(".")[0] for name in names}
    for layouts in (_LAYOUTS, _BARE_LAYOUTS):
        for networks, what in layouts:
            if networks <= first:
                return what
    return ""
