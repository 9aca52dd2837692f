"""Training-set selection: the manifest rows that match a quality, an action filter and a split."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.config.base import MIXED
from deepfakemnist.config.detectors import parse_training_set
from deepfakemnist.errors import ConfigError


def select_rows(rows: pa.Table, split: str, trained_on: str) -> pa.Table:
    """Return the frames or videos of a split that belong to a training set.

    Args:
        rows: frames or videos with ``quality``, ``label``, ``split``, ``split_driver`` and ``action``.
        split: train, val or test.
        trained_on: see :func:`deepfakemnist.config.detectors.parse_training_set`.

    Raises: ConfigError when no row has the quality.
    """
    wanted = parse_training_set(trained_on)
    chosen = pc.equal(rows["split"], split)
    qualities = sorted(set(rows["quality"].to_pylist()))
    if wanted.quality != MIXED:
        if wanted.quality not in qualities:
            raise ConfigError(
                f"trained_on: {wanted.quality!r} has no frames; the index has {', '.join(qualities) or 'none'}"
            )
        chosen = pc.and_(chosen, pc.equal(rows["quality"], wanted.quality))
    action, real = pc.fill_null(rows["action"], ""), pc.equal(rows["label"], 0)
    if wanted.only is not None:
        chosen = pc.and_(chosen, pc.or_(real, pc.equal(action, wanted.only)))
    if wanted.without is not None:
        chosen = pc.and_(chosen, pc.or_(real, pc.not_equal(action, wanted.without)))
    if wanted.by_driver:
        chosen = pc.and_(chosen, pc.or_(real, pc.equal(pc.fill_null(rows["split_driver"], ""), split)))
    return rows.filter(chosen)
