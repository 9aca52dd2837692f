"""Report page that shows the run's pictures: source, driver and fake of chosen fakes side by side, playing."""

from __future__ import annotations

import base64
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepfakemnist.config.base import ACTIONS, SPLITS
from deepfakemnist.report.gallery import RANK, Choice, Fake, choose
from deepfakemnist.report.gallery_clips import COMPARISON, Shelf, Take, peak_of
from deepfakemnist.report.gallery_tables import (
    GalleryTables,
    Material,
    encoded_at,
    read_material,
    without_fake,
)
from deepfakemnist.report.pages import render, write_page
from deepfakemnist.report.parts import Block, Lead
from deepfakemnist.report.units import number

#: Fakes shown at most; in the order of their choice.
_MAX_GROUPS = 60
#: Share of the clips' bytes for fakes at several qualities.
_FOR_QUALITIES = 0.3
_LEAD = Lead(
    "Real source, real driver and fake of the run, side by side: of every action and animator the best and the worst "
    "accepted fake by transfer and by identity kept, and one that was rejected.",
    "Play starts the three clips of a row together. The still of a source is the frame that was animated, those of "
    "driver and fake the moment of greatest change. Transfer: amplitude of the action in the fake divided by that in "
    "its driver, 1 is full transfer; identity kept: 1 is the source person, 0 an unrelated one; sharpness ratio: "
    "that of the face divided by that of the source frame. A dash: not measured. Not sent: a cheaper provider had "
    "rejected the clip.",
    "Every fake is a synthetic video of an event that never happened. Extremes were chosen to be shown: they do not "
    "say how good fakes are on average, and the clips here are encoded anew, so nothing can be measured on them.",
)
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class GallerySettings:
    """What the config says on the gallery.

    Args:
        qualities: of the dataset, in order; clips are shown at the first.
        fps: frames per second of all clips.
        megabytes: maximum size of all clips; 0: stills alone.
        planned: actions of the plan; None: the dataset was imported.
    """

    qualities: Sequence[str]
    fps: float
    megabytes: float
    planned: Sequence[str] | None = None


def write_gallery_page(
    tables: GalleryTables, path: Path, settings: GallerySettings, notices: Sequence[str] = ()
) -> None:
    """Write the page. Clips that are not there any more are left out, and the page says so."""
    material = read_material(tables, settings.qualities[0])
    found = choose(material.accepted, material.rejected)
    groups = [_Group(choice) for choice in found[:_MAX_GROUPS]]
    shelf = Shelf(settings.megabytes, settings.fps)
    _find_takes(groups, material, shelf)
    comparisons = _compare(groups, tables, settings, shelf)
    takes = [take for group in groups if group.is_complete for take in group.there]
    level = shelf.level_for(takes) if settings.megabytes and takes else None
    for group in groups:
        if level and group.is_complete:
            group.clips = shelf.keep(group.there, level)
    playing = sum(group.clips is not None for group in groups)
    _LOG.info("%d of %d fakes play; %d bytes of clips", playing, len(groups), sum(map(len, shelf.clips.values())))
    groups.sort(key=_place)
    several = len({group.choice.fake.animator for group in groups}) > 1
    shown = [_group_context(group, material, shelf, several) for group in groups]
    html = render(
        "gallery.html.j2",
        groups=shown,
        filters=_filters(groups),
        more=len(found) - len(groups),
        playing=playing,
        level=level,
        lacking=without_fake(tables.ledger, material.accepted, settings.planned),
        has_accepted=bool(material.accepted),
        limit_mb=settings.megabytes,
    )
    blocks = [Block("Fakes", html)]
    if comparisons:
        blocks.append(Block("One fake at every quality", render("gallery_qualities.html.j2", groups=comparisons)))
    clips = {name: base64.b64encode(data).decode() for name, data in shelf.clips.items()}
    blocks.append(Block("", render("gallery_clips.html.j2", clips=clips)))
    write_page(path, "Gallery", _LEAD, blocks, notices)


class _Group:
    """A fake of the page, and what is there of it, its source and its driver."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.takes: dict[str, Take] = {}
        self.clips: list[str] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether there is a fake to play."""
        return "fake" in self.takes

    @property
    def there(self) -> list[Take]:
        """The clips that are there, in the order of the page."""
        return list(self.takes.values())


def _place(group: _Group) -> tuple[int, str, int, str]:
    """Return where a group is on the page: by action, animator and what it is shown for, rejected ones last."""
    fake, reason = group.choice.fake, group.choice.reasons[0]
    order = ACTIONS.index(fake.action) if fake.action in ACTIONS else len(ACTIONS)
    return order, fake.animator, len(RANK) if fake.refusal else RANK[reason], fake.video_id


def _find_takes(groups: Sequence[_Group], material: Material, shelf: Shelf) -> None:
    """Find source, driver and fake of every group; a driver and its fakes are cut at the same frames."""
    shortest: dict[str, int] = {}
    for group in groups:
        fake = group.choice.fake
        known = shortest.get(fake.driver_id, fake.frames)
        shortest[fake.driver_id] = min(known, fake.frames)
    peaks: dict[tuple[str, int], int] = {}
    for group in groups:
        fake = group.choice.fake
        source, driver = material.sources.get(fake.source_id), material.drivers.get(fake.driver_id)
        frames = min(shortest[fake.driver_id], driver.frames) if driver else fake.frames
        made = Take(fake.path, frames, 0, 0, is_synthetic=True)
        driven = Take(driver.path, frames, 0, 0, is_synthetic=False) if driver else None
        if source:
            still = fake.source_frame or 0
            # A real may be cut to the length of its fake, before the frame that was animated.
            take = Take(source.path, source.frames, 0, still if still < source.frames else 0, is_synthetic=False)
            if shelf.has(take):
                group.takes["source"] = take
        moving = {role: take for role, take in (("driver", driven), ("fake", made)) if take and shelf.has(take)}
        if moved := next(iter(moving.values()), None):
            if (moved.path, frames) not in peaks:
                peaks[moved.path, frames] = peak_of(moved.path, frames)
            peak = peaks[moved.path, frames]
            group.takes |= {role: replace(take, peak=peak, still=peak) for role, take in moving.items()}


def _compare(
    groups: Sequence[_Group], tables: GalleryTables, settings: GallerySettings, shelf: Shelf
) -> list[dict[str, Any]]:
    """Return one accepted fake per animator at every quality, as many as a share of the bytes takes."""
    if len(settings.qualities) < 2 or not settings.megabytes:
        return []
    firsts: dict[str, _Group] = {}
    for group in groups:
        if group.is_complete and not group.choice.fake.refusal:
            firsts.setdefault(group.choice.fake.animator, group)
    left = settings.megabytes * 1e6 * _FOR_QUALITIES
    found = []
    for animator, group in sorted(firsts.items()):
        rows = encoded_at(tables.videos, group.choice.fake.video_id, settings.qualities)
        takes = [replace(group.takes["fake"], path=row["path"]) for row in rows]
        if len(takes) < 2 or not all(map(shelf.has, takes)) or shelf.bytes_of(takes, COMPARISON) > left:
            continue
        left -= shelf.bytes_of(takes, COMPARISON)
        clips = shelf.keep(takes, COMPARISON) or []
        pictures = [
            {
                "role": row["quality"],
                "still": shelf.still(take),
                "clip": clip,
                "facts": _quality_facts(row),
            }
            for row, take, clip in zip(rows, takes, clips, strict=True)
        ]
        fake = group.choice.fake
        found.append(
            {"video_id": fake.video_id, "animator": animator, "action": _words(fake.action), "pictures": pictures}
        )
    return found


def _quality_facts(row: dict[str, Any]) -> list[tuple[str, str]]:
    similar = (("PSNR, dB", row["psnr_db"], ".1f"), ("SSIM", row["ssim"], ".3f"), ("VMAF", row["vmaf"], ".0f"))
    facts = [("size, kB", f"{row['bytes'] / 1000:.0f}")]
    return facts + [(name, format(value, form)) for name, value, form in similar if value is not None]


def _group_context(group: _Group, material: Material, shelf: Shelf, several: bool) -> dict[str, Any]:
    fake = group.choice.fake
    known = {
        "source": (fake.source_id, fake.source_id in material.sources),
        "driver": (fake.driver_id, fake.driver_id in material.drivers),
        "fake": (fake.video_id, True),
    }
    pictures = []
    clips = dict(zip(group.takes, group.clips or [], strict=False))
    for role, (name, has_row) in known.items():
        take = group.takes.get(role)
        pictures.append(
            {
                "role": role,
                "name": name,
                "still": shelf.still(take) if take else "",
                "clip": clips.get(role, ""),
                "missing": ("clip removed or not readable" if has_row else "not in the tables")
                if name
                else "not known",
            }
        )
    return {
        "fake": fake,
        "action": _words(fake.action),
        "reasons": group.choice.reasons,
        "verdict": "rejected" if fake.refusal else "accepted",
        "pictures": pictures,
        "plays": group.clips is not None,
        "figures": [
            ("transfer", number(fake.transfer)),
            ("identity kept", number(fake.identity_kept)),
            ("sharpness ratio", number(fake.sharpness_ratio)),
        ],
        "providers": [(name, *_verdict(fake, name)) for name in material.providers],
        "animator": f"by {fake.animator}" if fake.animator else "animator not known" if several else "",
    }


def _verdict(fake: Fake, provider: str) -> tuple[str, str]:
    """Return a provider's verdict and its score with the threshold."""
    given = fake.verdicts.get(provider)
    if given is None:
        reason = fake.unanswered.get(provider, "")
        return "not sent" if reason == "not_asked" else f"no verdict: {_words(reason)}".rstrip(": "), "–"
    text = "live" if given["live"] else "not live"
    score, threshold = given.get("score"), given.get("threshold")
    if score is None:
        return text, "–"
    return text, f"{score:.2g}" if threshold is None else f"{score:.2g} (threshold {threshold:.2g})"


def _filters(groups: Sequence[_Group]) -> list[dict[str, Any]]:
    """Return the choices by which the page filters, those that tell anything apart."""
    fakes = [group.choice.fake for group in groups]
    offered = (
        ("action", {fake.action: _words(fake.action) for fake in fakes}),
        ("animator", {fake.animator: fake.animator or "not known" for fake in fakes}),
        ("split", {fake.split: fake.split or "none" for fake in fakes}),
        ("verdict", {"rejected" if fake.refusal else "accepted": "" for fake in fakes}),
    )
    order = {name: place for place, name in enumerate((*ACTIONS, *SPLITS))}
    return [
        {
            "name": name,
            "values": [
                (value, values[value] or value)
                for value in sorted(values, key=lambda value: (order.get(value, len(order)), value))
            ],
        }
        for name, values in offered
        if len(values) > 1
    ]


def _words(action: str) -> str:
    return action.replace("_", " ")
