"""Small tree in the layout of the authors' release: noise for pictures, and every kind of file that cannot be used."""

import shutil
from pathlib import Path

import numpy as np
from tiny_project import write_clip

#: The authors split by video, so id1 is in train and val.
REALS = {"train": ("id1#a#1#2", "id4#d#1#2"), "val": ("id1#b#1#2",), "test": ("id3#c#1#2",)}


def noise(seed: int, side: int = 48, frames: int = 6) -> list[np.ndarray]:
    first = np.random.default_rng(seed).integers(60, 190, (side // 8, side // 8, 3), dtype=np.uint8)
    first = first.repeat(8, axis=0).repeat(8, axis=1)
    return [np.roll(first, number, axis=1) for number in range(frames)]


def write(path: Path, seed: int, rate: str = "25", **size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = ("-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuv420p", "-vf", f"setpts=N/{rate}/TB", "-r", rate)
    write_clip(path, noise(seed, **size), *options)


def make_tree(tree: Path) -> None:
    """Four reals and twenty fakes of two actions; plus a truncated file, another rate, odd sides and a stray file."""
    for seed, (split, name) in enumerate((split, name) for split, names in REALS.items() for name in names):
        write(tree / f"real_dataset/selected_{split}/{name}.mp4", seed)
    for number in range(10):
        write(tree / f"fake_dataset/surpise/{100 * number}.mp4", 100 + number)
        write(tree / f"fake_dataset/blink/{number}.mp4", 200 + number, side=64 if number == 1 else 48)
    cut = tree / "real_dataset/selected_val/id5#cut#1#2.mp4"
    write(cut, 5)
    cut.write_bytes(cut.read_bytes()[:-300])
    write(tree / "real_dataset/selected_test/id6#slow#1#2.mp4", 6, rate="15")
    odd = [frame[:47, :47].copy() for frame in noise(7)]
    write_clip(tree / "real_dataset/selected_train/id7#odd#1#2.mp4", odd, "-c:v", "libx264", "-pix_fmt", "yuv444p")
    shutil.copy(tree / "fake_dataset/blink/3.mp4", tree / "fake_dataset/lost.mp4")
