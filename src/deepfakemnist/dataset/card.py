"""Dataset card with the sections of a datasheet, and CITATION.cff, for a release."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from deepfakemnist.config.base import SPLITS
from deepfakemnist.config.dataset import ReleaseSettings
from deepfakemnist.dataset.identity_findings import ACCEPTED, WARNING, count_findings
from deepfakemnist.dataset.markdown import in_markdown
from deepfakemnist.dataset.pairs import pair_rows
from deepfakemnist.tables.schemas import Row

# Markdown, in which viewers render HTML: every value that the template prints is escaped.
_ENVIRONMENT = Environment(
    loader=PackageLoader("deepfakemnist.dataset", "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=False,  # noqa: S701
    finalize=lambda value: in_markdown(value) if isinstance(value, str) else value,
)


def describe(videos: Sequence[Row]) -> str:
    """Return a one-paragraph description of the dataset with its counts."""
    names = {label: {row["video_id"] for row in videos if row["label"] == label} for label in (0, 1)}
    actions = {row["action"] for row in videos if row["label"] == 1}
    people = len({row["person_id"] for row in videos})
    qualities = list(dict.fromkeys(row["quality"] for row in videos))
    return (
        f"{len(names[0])} real talking-head videos and {len(names[1])} facial-animation fakes of {len(actions)} "
        f"actions, of {people} people, made by the DeepFakeMnist+ workflow, each at "
        f"the qualities {', '.join(qualities)}. The fakes are synthetic videos of events that never happened."
    )


def write_card(
    path: Path, videos: Sequence[Row], left_out: int, settings: ReleaseSettings, findings: Sequence[Row] | None
) -> None:
    """Write the card: YAML front matter for dataset hubs, then the sections of a datasheet.

    Args:
        path: file to write.
        videos: rows of the release.
        left_out: number of videos left out.
        settings: metadata of the release.
        findings: rows of the identity audit; None if there was none. Those of released people are stated.
    """
    qualities = list(dict.fromkeys(row["quality"] for row in videos))
    first = [row for row in videos if row["quality"] == qualities[0]]
    people = {row["person_id"] for row in first}
    # Leaks of released videos stop a release, unless its split is a published one, whose leaks are warnings.
    released_findings = [row for row in findings or () if {row["person_id"], row["other_person_id"]} <= people]
    warnings = [row for row in released_findings if row["verdict"] == WARNING]
    head = {
        "pretty_name": settings.name,
        "license": "other",
        "license_name": settings.licence,
        "task_categories": ["video-classification", "image-classification"],
        "tags": ["deepfake-detection", "facial-animation", "synthetic-media"],
        "configs": [
            {"config_name": name, "data_files": f"manifest/{name}.parquet"} for name in ("videos", "frames", "pairs")
        ],
    }
    text = _ENVIRONMENT.get_template("card.md.j2").render(
        settings=settings,
        description=describe(videos),
        person_disjoint=len({(row["person_id"], row["split"]) for row in first}) == len(people),
        splits=[
            (
                split,
                *(sum(row["split"] == split and row["label"] == label for row in first) for label in (0, 1)),
                len({row["person_id"] for row in first if row["split"] == split}),
            )
            for split in SPLITS
        ],
        actions=sorted(Counter(row["action"] for row in first if row["label"] == 1).items()),
        sizes=[(name, sum(row["bytes"] for row in videos if row["quality"] == name) / 1e6) for name in qualities],
        animators=sorted({(row["animator"], row["animator_licence"] or "not stated") for row in first if row["label"]}),
        drivers_mouths=sum(row.get("mouth_from") == "driver" for row in first),
        licences=sorted(Counter(row["licence"] or "not stated" for row in first if row["label"] == 0).items()),
        unlicensed=sum(not row["licence"] for row in first if row["label"] == 0),
        left_out=left_out,
        audited=findings is not None,
        accepted=[row for row in released_findings if row["verdict"] == ACCEPTED],
        across_splits=count_findings(row for row in warnings if row["split"] != row["other_split"]),
        within_splits=count_findings(row for row in warnings if row["split"] == row["other_split"]),
        one_length=all(pair["same_length"] is not False for pair in pair_rows(videos)),
        marks=sorted({row["marks"] for row in first if row["label"] == 1 and row["marks"]}),
    )
    path.write_text(f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n{text}", encoding="utf-8")


def citation(settings: ReleaseSettings) -> str:
    """Return CITATION.cff."""
    authors = [
        {
            "name": creator.name,
            **({"orcid": f"https://orcid.org/{creator.orcid}"} if creator.orcid else {}),
            **({"affiliation": creator.affiliation} if creator.affiliation else {}),
        }
        for creator in settings.creators
    ]
    data = {
        "cff-version": "1.2.0",
        "message": "If you use this dataset, please cite it and the paper whose recipe it follows.",
        "type": "dataset",
        "title": settings.name,
        "version": settings.version,
        "authors": authors or [{"name": "The makers of this release"}],
        **({"date-released": settings.date} if settings.date else {}),
        **({"url": settings.url} if settings.url else {}),
        "references": [
            {
                "type": "article",
                "title": "DeepFake MNIST+: A DeepFake Facial Animation Dataset",
                "authors": [{"family-names": name} for name in ("Huang", "Wang", "Du", "Du", "Xu")],
                "year": 2021,
                "url": "https://arxiv.org/abs/2108.07949",
            }
        ],
    }
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
