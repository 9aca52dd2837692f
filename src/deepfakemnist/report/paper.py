"""Accuracies that the paper reports (arXiv 2108.07949 and its authors' README), in percent, frame level."""

_TRAINED_ON_TESTED_ON = {
    "resnet50": {
        ("raw", "raw"): 96.58, ("raw", "c23"): 85.52, ("raw", "c40"): 71.3,
        ("c23", "raw"): 95.16, ("c23", "c23"): 94.32, ("c23", "c40"): 82.98,
        ("c40", "raw"): 59.0, ("c40", "c23"): 61.02, ("c40", "c40"): 91.49,
    },
    "meso4": {
        ("raw", "raw"): 60.39, ("raw", "c23"): 51.37, ("raw", "c40"): 56.92,
        ("c23", "raw"): 57.01, ("c23", "c23"): 58.58, ("c23", "c40"): 49.53,
        ("c40", "raw"): 55.65, ("c40", "c23"): 58.64, ("c40", "c40"): 57.90,
    },
}  # fmt: skip


def paper_accuracy(detector: str, trained_on: str, tested_on: str) -> float | None:
    """Return the paper's accuracy in percent, or None where it has none.

    The paper says MesoNet without naming the variant; Meso4 is taken to be meant.
    """
    return _TRAINED_ON_TESTED_ON.get(detector, {}).get((trained_on, tested_on))
