"""Dataset card with the sections of a datasheet, and CITATION.cff, for a release.

Its sentences about the data are claims of :mod:`deepfakemnist.dataset.claims`, made where the tables bear them out.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from deepfakemnist.config.dataset import ReleaseSettings
from deepfakemnist.dataset.claims import describe, say
from deepfakemnist.dataset.facts import Facts
from deepfakemnist.dataset.markdown import in_markdown


class _Markdown(str):
    """Text that is Markdown already; the names that it holds are escaped."""


def _shown(value: object) -> object:
    return in_markdown(value) if isinstance(value, str) and not isinstance(value, _Markdown) else value


# Markdown, in which viewers render HTML: every value that the template prints is escaped.
_ENVIRONMENT = Environment(
    loader=PackageLoader("deepfakemnist.dataset", "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=False,  # noqa: S701
    finalize=_shown,
)


def write_card(path: Path, facts: Facts, settings: ReleaseSettings) -> None:
    """Write the card: YAML front matter for dataset hubs, then the sections of a datasheet.

    Args:
        path: file to write.
        facts: what is known of the dataset.
        settings: metadata of the release.
    """
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
    escaped = _escaped(facts)
    text = _ENVIRONMENT.get_template("card.md.j2").render(
        settings=settings,
        facts=facts,
        description=_Markdown(describe(escaped)),
        say=lambda *topics: _Markdown(say(escaped, *topics)),
    )
    path.write_text(f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n{text}", encoding="utf-8")


def _escaped(facts: Facts) -> Facts:
    """Return facts whose names, which others wrote, are Markdown without links and HTML."""
    return replace(
        facts,
        qualities=[in_markdown(name) for name in facts.qualities],
        providers=[in_markdown(name) for name in facts.providers],
        marks=[in_markdown(name) for name in facts.marks],
        confounds=facts.confounds and [in_markdown(sentence) for sentence in facts.confounds],
        allowed_leaks=in_markdown(facts.allowed_leaks),
        animators={in_markdown(name): in_markdown(licence) for name, licence in facts.animators.items()},
    )


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
        "message": "If you use this dataset, please cite it and the paper whose folder layout it has.",
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
