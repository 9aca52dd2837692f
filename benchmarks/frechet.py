"""Bias of the Fréchet distance (FID) at the number of clips that a run has, beside the distance that it should show.

    python benchmarks/frechet.py [--people 64] [--out benchmarks/frechet.json]

Rendered actors perform an action each, and the mesh animator animates each by itself, as the stage reenact does. Three
distances between sets of frames, for growing numbers of people: ``halves``, true frames of some people and of as many
others, which is 0 in the limit; ``across``, true frames of some and results of others; ``paired``, true frames and
results of the same people, as papers on self-reenactment report it. Where ``halves`` is near ``across``, a distance
says how few people there were. Features are dlib's face embeddings, 128 values; those of FID and FVD, 2048 and 400,
need more frames, not fewer.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from numpy.typing import NDArray

from deepfakemnist.actors import Actor, Framing, load_bank, perform
from deepfakemnist.animate.registry import load_animator
from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.config.base import ACTIONS
from deepfakemnist.errors import Rejected
from deepfakemnist.faces.identity import FaceEmbedder

FRAMES, EVERY = 16, 4
CLOSE = Framing(eyes_y=0.44, head=0.75)
#: People per side, and repetitions with other people.
SIZES, DRAWS = (4, 8, 16, 32), 20
Features = NDArray[np.float64]


def frechet_distance(first: Features, second: Features) -> float:
    """Return the Fréchet distance of Gaussians fitted to features (N, D) and (M, D), as FID; any N and M above 1.

    The trace of the root of the product of the covariances is the sum of the singular values of the product of the
    centred features, so that covariances of rank below D need no special care.
    """
    centred = [(one - one.mean(0)) / np.sqrt(len(one) - 1) for one in (first, second)]
    common = float(np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum())
    offset = float(np.square(first.mean(0) - second.mean(0)).sum())
    return offset + sum(float(np.square(one).sum()) for one in centred) - 2 * common


def clips(people: int) -> tuple[list[Features], list[Features]]:
    """Return the features of true frames and of results, (frames, 128) per person; people without a face are none."""
    bank, animator, embed = load_bank(), load_animator(animator_settings(name="mesh"), None, "cpu"), FaceEmbedder()
    true: list[Features] = []
    made: list[Features] = []
    for person in range(people):
        action = ACTIONS[person % len(ACTIONS)]
        truth = perform(Actor(bank, person, seed=person), action, person, FRAMES, framing=CLOSE).clip()
        try:
            motion = animator.prepare_driving(truth)
            result = np.stack(list(animator.render(animator.prepare_source(truth[0]), motion)))
        except Rejected:
            continue
        # The first frame of both is the same.
        embeddings = [[embed(frame) for frame in clip[EVERY - 1 :: EVERY]] for clip in (truth, result)]
        if all(one is not None for clip in embeddings for one in clip):
            true.append(np.array(embeddings[0], np.float64))
            made.append(np.array(embeddings[1], np.float64))
    return true, made


def distances(true: list[Features], made: list[Features]) -> list[dict[str, float]]:
    """Return mean and standard deviation over draws of the three distances, per number of people."""
    rows = []
    random = np.random.default_rng(0)
    for size in SIZES:
        if 2 * size > len(true):
            continue
        found: dict[str, list[float]] = {"halves": [], "across": [], "paired": []}
        for _ in range(DRAWS):
            order = random.permutation(len(true))
            some, others = order[:size], order[size : 2 * size]
            first = np.concatenate([true[person] for person in some])
            found["halves"].append(frechet_distance(first, np.concatenate([true[person] for person in others])))
            found["across"].append(frechet_distance(first, np.concatenate([made[person] for person in others])))
            found["paired"].append(frechet_distance(first, np.concatenate([made[person] for person in some])))
        row = {"people": float(size), "frames": float(size * len(true[0]))}
        for name, values in found.items():
            row |= {name: mean(values), f"{name}_sd": stdev(values)}
        rows.append(row)
    return rows


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    true, made = clips(arguments.people)
    rows = distances(true, made)
    arguments.out.write_text(json.dumps({"people": len(true), "distances": rows}, indent=1) + "\n")
    for row in rows:
        print({key: round(value, 4) for key, value in row.items()})


if __name__ == "__main__":
    main()
