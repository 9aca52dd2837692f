"""Model card of a checkpoint: architecture, training data, recipe, validation metrics and limits of use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepfakemnist.config.detectors import DetectorTraining
from deepfakemnist.detectors.base import DetectorConfig
from deepfakemnist.tables.files import atomic_path
from deepfakemnist.tables.schemas import Row

_LIMITS = """\
* It separates the fakes of its training set from the reals of its training set. Other animators, cameras, encoders and
  people may change its error rates entirely; evaluate it on data like yours before you rely on it.
* A score is no proof. At these error rates, among mostly real videos, most of those classified as fake are real.
* It expects one face in a square crop, cut and encoded as its training clips were; see "Preparation" above.
* The metrics above are those of val, on which the epoch was selected. Those of test are in the run's
  `evaluation/metrics.tsv`.
"""


def write_card(
    path: Path | str,
    config: DetectorConfig,
    settings: DetectorTraining,
    trained_on: str,
    seed: int,
    epoch: Row,
    facts: dict[str, Any],
) -> None:
    """Write the card as Markdown.

    Args:
        path: file to write.
        config: default config of the detector.
        settings: training recipe.
        trained_on: name of the training set.
        seed: training seed.
        epoch: row of the selected epoch in the training log.
        facts: ``data`` (counts of the training set), ``preparation`` and ``decision``, as in the checkpoint.
    """
    recipe = settings.model_dump(mode="json", exclude={"name", "label"})
    # Where the recipe leaves a value to the detector, the card shows the detector's default.
    defaults = {"image_size": config.input_size, "learning_rate": config.learning_rate, "dropout": config.dropout}
    recipe |= {name: value for name, value in defaults.items() if recipe[name] is None}
    lines = [
        f"# {settings.slug}: real or fake, trained on {trained_on}, seed {seed}",
        "",
        f"Detector `{settings.name}` ({config.source}). Output: P(fake) of one "
        + ("frame." if config.clip_frames == 1 else f"clip of {config.clip_frames} frames."),
        f"Licence: {config.licence}.",
        "",
        "## Data",
        "",
        *_items(facts.get("data", {})),
        "",
        "## Recipe",
        "",
        *_items(recipe),
        "",
        f"## Validation, epoch {epoch['epoch']}",
        "",
        *_items({name: value for name, value in epoch.items() if name.startswith("val_")}),
        "",
        "## Decision, chosen on val",
        "",
        *_items(facts.get("decision", {})),
        "",
        "## Preparation",
        "",
        *(_preparation(facts["preparation"]) if facts.get("preparation") else ["* not stated"]),
        "",
        "## Limits",
        "",
        _LIMITS,
    ]
    with atomic_path(path) as part:
        part.write_text("\n".join(lines), encoding="utf-8")


def _preparation(values: dict[str, Any]) -> list[str]:
    """Return a line per setting of the crop and frames stages and per quality."""
    qualities = {f"qualities.{name}": _stated(quality) for name, quality in values["qualities"].items()}
    stages = {f"{stage}.{name}": value for stage in ("crop", "frames") for name, value in values[stage].items()}
    return _items({"clips": values["clips"], **stages, **qualities})


def _stated(quality: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in quality.items() if value is not None)


def _items(values: dict[str, Any]) -> list[str]:
    return [f"* {name}: {_shown(value)}" for name, value in values.items()]


def _shown(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
