"""The model card beside a checkpoint: what the detector is, was trained on and is worth, and what it is not for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepfakemnist.config.detectors import DetectorTraining
from deepfakemnist.detectors.base import DetectorConfig
from deepfakemnist.tables.files import atomic_path
from deepfakemnist.tables.schemas import Row

_LIMITS = """\
* It tells the fakes of its training set from the reals of its training set. Other animators, other cameras, other
  encoders and other people may change its errors entirely; judge it on data like yours before you believe it.
* A score is no proof. At these error rates most of what is called fake in a crowd of real videos is real.
* It expects one face in a square crop made as the crops it was trained on; see `crop` above.
* The numbers above are of val, which chose the epoch. Those of test are in the run's `evaluation/metrics.tsv`.
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
        config: facts about the detector.
        settings: its recipe.
        trained_on: name of its training set.
        seed: of the training.
        epoch: row of the history of the epoch that was kept.
        facts: ``data`` (counts of the training set) and ``crop`` (how clips were cut), as in the checkpoint.
    """
    recipe = settings.model_dump(mode="json", exclude={"name", "label"})
    # What the recipe leaves to the detector stands in the card as it was.
    own = {"image_size": config.input_size, "learning_rate": config.learning_rate, "dropout": config.dropout}
    recipe |= {name: value for name, value in own.items() if recipe[name] is None}
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
        "## Crop",
        "",
        *(_items(facts["crop"]) if facts.get("crop") else ["* not stated"]),
        "",
        "## Limits",
        "",
        _LIMITS,
    ]
    with atomic_path(path) as part:
        part.write_text("\n".join(lines), encoding="utf-8")


def _items(values: dict[str, Any]) -> list[str]:
    return [f"* {name}: {_shown(value)}" for name, value in values.items()]


def _shown(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
