"""Summary of a run's sources and animator, printed when it starts.

People per split, what counts as a person, what is left aside; which animators, with which weights.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from deepfakemnist.config.animators.base import AnimatorSettings
from deepfakemnist.config.animators.fomm import FommSettings
from deepfakemnist.config.animators.rendered import RenderedSettings
from deepfakemnist.config.base import SPLITS
from deepfakemnist.config.load import Config
from deepfakemnist.sources.sheets import Sheet
from deepfakemnist.sources.video_files import describe_left_aside

_EXAMPLES = 3


def describe_sources(config: Config, sheet: Sheet, split_of: Mapping[str, str]) -> str:
    """Return a few lines: counts, rule, warnings.

    Args:
        config: the config.
        sheet: the sources.
        split_of: video → split.
    """
    videos = Counter(row["person_id"] for row in sheet.rows)
    people: dict[str, set[str]] = defaultdict(set)
    for row in sheet.rows:
        people[split_of[row["video_id"]]].add(row["person_id"])
    examples = ", ".join(f"{person} ({count})" for person, count in videos.most_common(_EXAMPLES))
    more = ", …" if len(videos) > _EXAMPLES else ""
    lines = [
        f"Sources: {len(sheet.rows)} videos of {len(videos)} people: "
        + ", ".join(f"{split} {len(people[split])}" for split in SPLITS),
        f"  person: {sheet.person_rule}; {examples}{more}",
    ]
    if sheet.refused:
        reasons = Counter(row["reason"] for row in sheet.refused)
        listing = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        lines.append(f"  refused, see the ledger: {listing}")
    if sheet.left_aside:
        lines.append(f"  left aside: {describe_left_aside(sheet.left_aside)}")
    if not sheet.person_stated and len(sheet.rows) == len(videos) > 1:
        lines.append(
            "  WARNING: every video counts as a person of its own. If somebody is in two of them, splits may share a "
            "face, and scores come out too good. State people with "
            + ("sources.person_from, a folder per person," if config.sources.folder else "a column person_id")
            + " or names PERSON#VIDEO."
        )
    if empty := [split for split in wanted_splits(config) if not people[split]]:
        lines.append(f"  WARNING: nobody is in {' and '.join(empty)}: {len(videos)} people are too few for the splits.")
    return "\n".join(lines)


def wanted_splits(config: Config) -> list[str]:
    """Return the splits that need people: all but those whose fraction is 0; none if the split is a published one."""
    fractions = {"val": config.plan.val_fraction, "test": config.plan.test_fraction}
    released = config.sources.released is not None
    return [] if released else [split for split in SPLITS if fractions.get(split, 1.0) > 0]


def describe_animators(animators: Sequence[AnimatorSettings]) -> str:
    """Return one line per animator: label, share of the sources, and where its weights come from."""
    total = sum(one.share for one in animators)
    lines = []
    for one in animators:
        share = f", {one.share / total:.0%} of the sources" if len(animators) > 1 else ""
        if isinstance(one, FommSettings) and one.needs_training:
            weights = f", trained on {one.train.clips or 'the crops of this run'}"
        elif isinstance(one, RenderedSettings):
            there = "" if one.table.is_file() else ", which does not exist yet (docs/rendered_elsewhere.md)"
            weights = f", clips rendered elsewhere, listed in {one.table}{there}"
        else:
            weights = f" with {one.weight_file}" if one.weight_file else ", without weights"
        lines.append(f"Animator: {one.named}{weights}{share}")
    return "\n".join(lines)
