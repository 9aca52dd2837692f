"""Croissant 1.1 metadata of a release, including the responsible-AI fields, built and validated with mlcroissant."""

from __future__ import annotations

import datetime
import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deepfakemnist.config.dataset import ReleaseSettings
from deepfakemnist.dataset.claims import describe, say
from deepfakemnist.dataset.facts import Facts
from deepfakemnist.errors import ConfigError

_USES = (
    "Training and evaluating detectors of facial-animation video. Not for making such video, for face recognition, or "
    "for judging a person by their face."
)
_PERSONAL = (
    "Faces of people; fakes show them doing what they never did. The columns person_id and driver_person_id hold the "
    "identifiers that they were given. Whether they agreed is known only where the column licence says so."
)
_LIMITS = "Detectors that do well here may not generalise to other animators, resolutions and codecs."
_IMPACT = "Detectors protect people whose faces are animated; the videos could also help evade them."
_BIASES = "The distribution of age, gender and skin tone was neither measured nor balanced."


def statements(facts: Facts) -> dict[str, Any]:
    """Return the fields of the metadata that describe the data in words; claims are made where the tables do."""
    return {
        "description": describe(facts),
        "data_collection": say(facts, "origin", "recipe", "animators"),
        "data_collection_type": ["Others"],
        "data_preprocessing_protocol": [say(facts, "encoding", "sizes", "lengths")],
        "data_annotation_protocol": [say(facts, "labels")],
        "machine_annotation_tools": [say(facts, "liveness")],
        "data_biases": [f"{say(facts, 'selection')} {_BIASES}".strip()],
        "data_limitations": [f"{say(facts, 'variety')} {_LIMITS}".strip(), say(facts, "confounds", "allowed leaks")],
        "data_use_cases": [_USES],
        "data_social_impact": _IMPACT,
        "personal_sensitive_information": [_PERSONAL],
    }


def write_croissant(folder: Path, settings: ReleaseSettings, facts: Facts) -> None:
    """Write ``croissant.json`` for a release folder whose manifest is complete, and validate it.

    Args:
        folder: the release; its Parquet files below ``manifest`` are described column by column.
        settings: title, version, creators, licence.
        facts: what is known of the dataset.

    Raises: ConfigError when mlcroissant is not installed; ValueError when the metadata does not validate.
    """
    mlc = _library()
    # The library logs warnings about fields left empty; errors are raised below.
    ctx = mlc.Context(conforms_to="http://mlcommons.org/croissant/1.1")
    distribution, record_sets = [], []
    for path in sorted((folder / "manifest").glob("*.parquet")):
        name = path.stem
        distribution.append(
            mlc.FileObject(
                ctx=ctx,
                id=f"{name}-file",
                name=f"{name}.parquet",
                content_url=f"manifest/{path.name}",
                encoding_formats=["application/x-parquet"],
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                content_size=f"{path.stat().st_size} B",
            )
        )
        record_sets.append(_record_set(mlc, ctx, name, pq.read_schema(path)))
    distribution.append(
        mlc.FileSet(ctx=ctx, id="clips", name="clips", encoding_formats=["video/mp4"], includes=["**/*.mp4"])
    )
    metadata = mlc.Metadata(
        ctx=ctx,
        name=settings.name,
        version=settings.version,
        license=[settings.licence],
        url=settings.url,
        creators=[mlc.Person(ctx=ctx, name=creator.name, url=_orcid(creator.orcid)) for creator in settings.creators],
        cite_as="The DeepFake MNIST+ paper, arXiv 2108.07949, and this release, see CITATION.cff",
        date_published=datetime.datetime.fromisoformat(settings.date) if settings.date else None,
        distribution=distribution,
        record_sets=record_sets,
        data_release_maintenance_plan=(
            f"To be removed, write to {settings.contact or 'the makers'}; later versions leave you out. "
            "CHANGELOG.md lists the changes."
        ),
        **statements(facts),
    )
    if metadata.issues.errors:
        raise ValueError(f"{folder}: invalid Croissant metadata: {metadata.issues.report()}")
    text = json.dumps(metadata.to_json(), indent=2, default=str) + "\n"
    (folder / "croissant.json").write_text(text, encoding="utf-8")
    validate(folder)


def validate(folder: Path) -> list[str]:
    """Load a release's croissant.json as a user would; return mlcroissant's warnings.

    Raises: ValueError with the validation error.
    """
    mlc = _library()
    try:
        dataset = mlc.Dataset(jsonld=str(folder / "croissant.json"))
    except mlc.ValidationError as error:
        raise ValueError(f"{folder / 'croissant.json'}: {error}") from error
    return sorted(dataset.metadata.ctx.issues.warnings)


def _record_set(mlc: Any, ctx: Any, name: str, schema: pa.Schema) -> Any:
    return mlc.RecordSet(
        ctx=ctx,
        id=name,
        name=name,
        fields=[
            mlc.Field(
                ctx=ctx,
                id=f"{name}/{field.name}",
                name=field.name,
                description=(field.metadata or {}).get(b"description", b"").decode(),
                data_types=[_data_type(mlc, field.type)],
                source=mlc.Source(ctx=ctx, file_object=f"{name}-file", extract=mlc.Extract(ctx=ctx, column=field.name)),
            )
            for field in schema
        ],
    )


def _data_type(mlc: Any, kind: pa.DataType) -> Any:
    if pa.types.is_boolean(kind):
        return mlc.DataType.BOOL
    if pa.types.is_integer(kind):
        return mlc.DataType.INTEGER
    return mlc.DataType.FLOAT if pa.types.is_floating(kind) else mlc.DataType.TEXT


def _orcid(orcid: str | None) -> str | None:
    return f"https://orcid.org/{orcid}" if orcid else None


def _library() -> Any:
    try:
        import mlcroissant
    except ImportError as error:
        raise ConfigError(
            "a release needs the package mlcroissant, which is not installed: pip install mlcroissant"
        ) from error
    return mlcroissant
