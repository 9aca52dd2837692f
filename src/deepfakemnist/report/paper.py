"""Published accuracies of the DeepFakeMnist+ paper (arXiv 2108.07949 and its authors' README), in percent.

Its classes are 1:1, so its accuracy is a balanced accuracy, and chance is 50 %. It does not say whether of frames or of
videos; frames are assumed. It names no variant of MesoNet; the figures are taken for those of Meso4, the original. Its
raw, LC and HC are raw, c23 and c40 here.

Figures are texts: with the decimals that the paper prints in a table or, read off one of its charts to about half a
point, with one decimal after ``≈``.
"""

from __future__ import annotations

from deepfakemnist.config.base import MIXED
from deepfakemnist.config.training_sets import PAPER, PERSON, TrainingSet, parse_training_set

_QUALITIES = ("raw", "c23", "c40")


def _square(*values: str) -> dict[tuple[str, str], str]:
    """Return nine accuracies by training and test quality, given row by row, one training quality per row."""
    pairs = [(trained, tested) for trained in _QUALITIES for tested in _QUALITIES]
    return dict(zip(pairs, values, strict=True))


_RESNET101 = {("raw", "raw"): "96.64", ("c23", "c23"): "94.87", ("c40", "c40"): "90.44"}
_MESONET = _square("60.39", "51.37", "56.92", "57.01", "58.58", "49.53", "55.65", "58.64", "57.90")
_MIXED = {"resnet50": ("93.57", "90.69", "85.56"), "resnet152": ("95.78", "92.11", "88.32")}
_ACCURACY: dict[str, dict[tuple[str, str], str]] = {
    "resnet50": _square("96.58", "85.52", "71.3", "95.16", "94.32", "82.98", "59", "61.02", "91.49"),
    "resnet101": _RESNET101,
    "resnet152": _square("96.18", "79.23", "68.12", "82.33", "94.90", "73.60", "76.72", "76.69", "91.27"),
    "xception": _square("92.38", "79.17", "71.83", "87.89", "85.52", "68.99", "67.38", "62.9", "83.14"),
    "meso4": _MESONET,
}

_ACTIONS = (
    "blink",
    "yaw",
    "mouth",
    "nod",
    "up",
    "right_slope",
    "left_slope",
    "smile",
    "surprise",
    "embarrassment",
)
#: Name of the real videos in the per-action results.
ORIGINAL = "original"
#: Accuracy on each action's fakes and on the reals, read off a chart; the paper does not name the model.
_PER_ACTION = {
    "raw": (99.5, 94.5, 97.5, 94.5, 95.9, 94.1, 92.3, 99.3, 97.2, 94.5, 94.5),
    "c23": (95.8, 92.2, 95.7, 93.0, 91.2, 96.1, 91.5, 96.2, 96.6, 93.8, 94.3),
    "c40": (97.6, 89.7, 96.5, 92.0, 93.1, 89.9, 88.3, 96.0, 96.8, 87.4, 91.0),
}
#: ResNet50 trained on the raw fakes of one action, tested on all; read off a chart.
_TRAINED_ON_ACTION = (69.2, 72.3, 73.8, 80.4, 70.5, 77.1, 76.0, 67.3, 80.0, 74.0)


def paper_accuracy(detector: str, trained_on: str, tested_on: str) -> str | None:
    """Return the paper's accuracy on all test clips in percent, as text, or None where it reports none.

    It stands beside training sets by its split, by video, and by that of the dataset.
    """
    chosen = parse_training_set(trained_on)
    if chosen.split == PAPER:
        chosen = chosen._replace(split=PERSON)
    if chosen == TrainingSet(MIXED) and detector in _MIXED and tested_on in _QUALITIES:
        return _MIXED[detector][_QUALITIES.index(tested_on)]
    if chosen.only and chosen == TrainingSet("raw", only=chosen.only) and (detector, tested_on) == ("resnet50", "raw"):
        return _off_chart(_TRAINED_ON_ACTION[_ACTIONS.index(chosen.only)])
    if chosen == TrainingSet(chosen.quality):
        return _ACCURACY.get(detector, {}).get((chosen.quality, tested_on))
    return None


def paper_action_accuracy(quality: str, action: str) -> str | None:
    """Return the paper's accuracy on an action's fakes, or on the reals (``original``), at a quality, percent."""
    if quality not in _PER_ACTION or action not in (*_ACTIONS, ORIGINAL):
        return None
    return _off_chart(_PER_ACTION[quality][(*_ACTIONS, ORIGINAL).index(action)])


def _off_chart(value: float) -> str:
    return f"≈{value:.1f}"
