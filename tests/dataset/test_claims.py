"""Claims of the dataset card and metadata: said of a dataset where they hold, and absent where they do not."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from small_dataset import clip

from deepfakemnist.config.dataset import FrameSettings, ReleaseSettings
from deepfakemnist.dataset import card
from deepfakemnist.dataset.card import write_card
from deepfakemnist.dataset.claims import TOPICS
from deepfakemnist.dataset.croissant import statements
from deepfakemnist.dataset.facts import Facts, facts_of
from deepfakemnist.dataset.imports import import_dataset
from deepfakemnist.dataset.release import write_release
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.tables.schemas import Row

CLAIMS = {claim.name: claim for claims in TOPICS.values() for claim in claims}
#: Sentences that say nothing of the data: purpose, advice, what is measured nowhere, and files of every release.
NO_CLAIMS = {
    "To train and evaluate detectors of facial animation: video in which another person's performance drives a face.",
    "A video counts once, whatever its qualities.",
    "Check that you may use the videos before you do.",
    "They keep the licences of their sources; `LICENCES.tsv` lists those that are stated.",
    "Whether the people in them agreed to be animated is known only where a licence says so.",
    "To be removed from the next version, write to",
    "For research on deepfake detection.",
    "Not for deceiving anyone, for face recognition, or for judging a person by their face.",
    "Detectors that do well here may not generalise.",
    "Pose, lighting, and the distribution of age, gender and skin tone were not measured.",
    "`CHANGELOG.md` lists what was added, removed and changed.",
    "`SHA256SUMS` covers every file: `sha256sum --check SHA256SUMS`.",
    "`croissant.json` is machine-readable metadata of the tables.",
    # Metadata only.
    "Others",
    "Training and evaluating detectors of facial-animation video.",
    "Not for making such video, for face recognition, or for judging a person by their face.",
    "Faces of people; fakes show them doing what they never did.",
    "The columns person_id and driver_person_id hold the identifiers that they were given.",
    "Whether they agreed is known only where the column licence says so.",
    "Detectors that do well here may not generalise to other animators, resolutions and codecs.",
    "Detectors protect people whose faces are animated; the videos could also help evade them.",
    "The distribution of age, gender and skin tone was neither measured nor balanced.",
}
X264 = '{"codec": "libx264", "crf": 23}'
LIVE = json.dumps({"local-silent": {"live": True, "score": 0.9, "threshold": 0.5}})
UNKNOWN = {
    "animator": "", "animator_licence": None, "driver_id": "", "driver_person_id": "", "liveness": "",
    "reproducible_pixels": None, "mouth_from": None,
}  # fmt: skip


@dataclass(frozen=True)
class Dataset:
    """Rows of four people with a real and a fake each at two qualities, of which everything is known."""

    rows: tuple[Row, ...]
    options: dict = field(default_factory=dict)

    def but(self, label: int | None = None, only: int | None = None, **changes: object) -> Dataset:
        """Change columns of all rows, of a class, or of one person's."""
        rows = [
            {**row, **changes} if label in (None, row["label"]) and only in (None, row["number"]) else row
            for row in self.rows
        ]
        return replace(self, rows=tuple(rows))

    def without(self, **values: object) -> Dataset:
        rows = [row for row in self.rows if not all(row[name] == value for name, value in values.items())]
        return replace(self, rows=tuple(rows))

    def given(self, **options: object) -> Dataset:
        return replace(self, options={**self.options, **options})

    def facts(self) -> Facts:
        return facts_of(self.rows, **self.options)


def known() -> Dataset:
    rows = []
    for number, split in enumerate(("train", "train", "val", "test")):
        for label in (0, 1):
            for quality in ("raw", "c23"):
                common = {
                    "number": number, "video_id": f"s{number}@d{number}" if label else f"s{number}", "label": label,
                    "quality": quality, "split": split, "split_driver": split, "split_paper": split, "fold": number % 2,
                    "person_id": f"p{number}", "source_id": f"s{number}", "frames": 10, "fps": 25.0, "width": 64,
                    "height": 64, "bytes": 1000, "encoder": X264, "encoder_version": "x264 1", "licence": "CC0-1.0",
                    "synthetic": bool(label), "marks": "", "action": "", **UNKNOWN,
                }  # fmt: skip
                made = {
                    "action": "nod", "driver_id": f"d{number}", "driver_person_id": f"d{number}", "animator": "fomm",
                    "animator_licence": "MIT", "liveness": LIVE, "reproducible_pixels": "one_processor",
                    "mouth_from": "driver", "marks": "comment",
                }  # fmt: skip
                rows.append({**common, **made} if label else common)
    return Dataset(tuple(rows))


def published() -> Dataset:
    """Return the dataset as an unpaired tree that others published: a fake has no known source, driver or animator."""
    rows = [
        {**row, **UNKNOWN, "person_id": row["video_id"], "source_id": row["video_id"]} if row["label"] else row
        for row in known().rows
    ]
    return Dataset(tuple(rows), {"published": True})


def finding(verdict: str, one: int, other: int) -> Row:
    splits = ("train", "train", "val", "test")
    return {
        "finding": "same_face", "verdict": verdict, "person_id": f"p{one}", "other_person_id": f"p{other}",
        "split": splits[one], "other_split": splits[other], "distance": 0.2, "reason": "twins",
    }  # fmt: skip


def confound(verdict: str) -> Row:
    return {
        "quality": "c23", "facts": "container", "verdict": verdict, "fact": "fps", "auc": 0.9, "pair_auc": None,
        "p": 0.01, "detectable_auc": 0.7, "auc_limit": 0.6, "forest_auc": 0.9, "videos": 8, "people": 4,
        "telling": "fps 0.90",
    }  # fmt: skip


K, P = known(), published()
NO_ENCODER = K.but(encoder=None)
#: Claim → a dataset of which it is said, and one of which it is not, because it is false or not known there.
CASES: dict[str, tuple[Dataset, Dataset]] = {
    "people": (K, P),
    "people unknown": (P, K),
    "confounds": (K.given(confounds=[confound("no difference")]), K),
    "confounds unknown": (K, K.given(confounds=[confound("leak")])),
    "allowed leaks": (
        K.given(confounds=[confound("leak")], allow_leaks="as it was published"),
        K.given(confounds=[confound("no difference")], allow_leaks="as it was published"),
    ),
    "every quality": (K, K.without(video_id="s0", quality="raw")),
    "some qualities": (K.without(video_id="s0", quality="raw"), K),
    "made by a workflow": (K, P),
    "published by others": (P, K),
    "origin unknown": (NO_ENCODER, K),
    "synthetic": (K, K.but(label=1, only=0, synthetic=None)),
    "recipe": (K, P),
    "all live": (K, P),
    "some live": (K.but(label=1, only=0, liveness=""), K),
    "liveness unknown": (P, K),
    "published split": (P, K),
    "people in two splits": (K.but(label=0, only=0, split="test"), K),
    "person-disjoint": (K, K.but(only=0, person_id="p3")),
    "disjoint unknown": (P, K),
    "fakes with their real": (K, P),
    "driver split": (K, P.but(split_driver="")),
    "paper split": (K, K.but(split_paper="")),
    "folds by person": (K, P),
    "folds": (P, K),
    "one chain": (K, K.but(label=1, encoder=X264.replace("23", "22"))),
    "one chain, after another": (P, K),
    "several chains": (K.but(label=1, encoder_version="x264 2"), K),
    "chain unknown": (NO_ENCODER, K),
    "one size": (K, K.but(label=1, width=72)),
    "several sizes": (K.but(fps=24.0, only=1), K),
    "lengths differ": (K.but(label=1, only=0, frames=11), K),
    "one length": (K, P),
    "lengths unknown": (P, K),
    "x264": (K, K.but(encoder='{"codec": "libsvtav1", "crf": 23}')),
    "animator pixels": (K, P),
    "found across splits": (K.given(findings=[finding("warning", 0, 2)]), K.given(findings=[finding("warning", 0, 1)])),
    "accepted across splits": (K.given(findings=[finding("accepted", 0, 2)]), K.given(findings=[])),
    "none across splits": (K.given(findings=[]), K),
    "not compared": (K, K.given(findings=[])),
    "found within splits": (K.given(findings=[finding("warning", 0, 1)]), K.given(findings=[finding("warning", 0, 2)])),
    "animators": (K, P),
    "some animators": (K.but(label=1, only=0, animator=""), K),
    "animators unknown": (P, K),
    "labels by construction": (K, P),
    "labels as published": (P, K),
    "unlicensed": (K.but(only=0, licence=""), K),
    "mouths": (K, P),
    "left out": (K.given(left_out=2), K),
    "all marked": (K, K.but(label=1, only=0, marks="")),
    "some marked": (K.but(label=1, only=0, marks=""), K),
    "none marked": (K.but(marks=""), K),
    "variety": (K, P),
    "variety unknown": (P, K),
    "selected by liveness": (K, P),
}  # fmt: skip
#: Claims made of every dataset: their figures must follow the tables.
ALWAYS = {"counts"}


def said_of(dataset: Dataset, folder: Path) -> str:
    """Return all that card and metadata say, with # for numbers, so that another number does not hide a claim."""
    facts = dataset.facts()
    write_card(folder / "card.md", facts, ReleaseSettings())
    return _without_numbers((folder / "card.md").read_text(encoding="utf-8") + str(statements(facts)))


def _without_numbers(text: str) -> str:
    # Markdown escapes are those of names.
    return re.sub(r"\d+", "#", text.replace("\\", ""))


@pytest.mark.parametrize("name", CASES)
def test_a_claim_is_made_only_of_a_dataset_where_it_is_known_to_hold(name: str, tmp_path: Path) -> None:
    holding, failing = CASES[name]
    sentence = _without_numbers(CLAIMS[name].sentence(holding.facts()))
    # A sentence may be the beginning of another one of its topic; the full stop tells them apart.
    assert sentence.endswith((".", "**"))
    assert sentence in said_of(holding, tmp_path)
    assert sentence not in said_of(failing, tmp_path)


def test_every_claim_has_a_dataset_that_falsifies_it() -> None:
    assert CASES.keys() | ALWAYS == CLAIMS.keys() and not CASES.keys() & ALWAYS
    assert sum(map(len, TOPICS.values())) == len(CLAIMS), "two claims have one name"


def test_counts_follow_the_tables() -> None:
    count = CLAIMS["counts"].sentence
    assert count(K.facts()) == "4 real videos and 4 fake videos of 1 action."
    assert (
        count(K.without(number=0).but(only=1, action="yaw").facts()) == "3 real videos and 3 fake videos of 2 actions."
    )
    assert [(s.real, s.fake, s.people) for s in K.facts().splits] == [(2, 2, 2), (1, 1, 1), (1, 1, 1)]
    assert [s.people for s in P.facts().splits] == [None, None, None]


def sentences(text: str) -> set[str]:
    """Return the sentences of a text, without headings, tables, lists and code."""
    prose = [line for line in text.splitlines() if line.strip() and not line.startswith(("|", "#", "    "))]
    found = re.split(r"(?<=[.!?])\s+", " ".join(line.strip() for line in prose))
    return {sentence for one in found if (sentence := one.strip(" *."))}


def test_no_sentence_of_the_template_escapes() -> None:
    """What the template says in its own words is no claim about the data; the rest comes from claims."""
    source = (Path(inspect.getfile(card)).parent / "templates/card.md.j2").read_text(encoding="utf-8")
    own = sentences(re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "", source))
    assert own <= {sentence.rstrip(".") for sentence in NO_CLAIMS}


@pytest.mark.parametrize("dataset", [K, P], ids=["known", "published"])
def test_no_sentence_of_the_metadata_escapes(dataset: Dataset) -> None:
    facts = dataset.facts()
    text = " ".join(
        part for value in statements(facts).values() for part in ([value] if isinstance(value, str) else value)
    )
    for claim in CLAIMS.values():
        if claim.holds(facts):
            text = text.replace(claim.sentence(facts), "")
    assert sentences(text) <= {sentence.rstrip(".") for sentence in NO_CLAIMS}


def test_of_a_published_tree_little_is_said() -> None:
    facts = P.facts()
    said = {next((one.name for one in claims if one.holds(facts)), None) for claims in TOPICS.values()} - {None}
    assert said == {
        "counts", "people unknown", "every quality", "published by others", "synthetic", "liveness unknown",
        "published split", "disjoint unknown", "paper split", "folds", "one chain, after another", "one size",
        "lengths unknown", "x264", "not compared", "animators unknown", "labels as published", "all marked",
        "variety unknown", "confounds unknown",
    }  # fmt: skip


@pytest.mark.slow
def test_the_card_of_a_published_tree_claims_none_of_what_it_cannot_know(tmp_path: Path) -> None:
    pytest.importorskip("mlcroissant")
    tree = tmp_path / "DFMNIST+"
    for split in ("train", "val", "test"):
        for number in (1, 2):
            name = f"real_dataset/selected_{split}/id{number}#{split}#1#2.mp4"
            write_working_clip(tree / name, clip(number, frames=4, side=32), 25)
    for number in range(6):
        write_working_clip(tree / f"fake_dataset/blink/{number}.mp4", clip(50 + number, frames=5, side=32), 25)
    manifest = import_dataset(tree, tmp_path / "imported", FrameSettings(per_clip=1))
    out = write_release(manifest, tmp_path / "out", ReleaseSettings(contact="x@example.org"))
    text = (out / "README.md").read_text() + (out / "croissant.json").read_text()
    for phrase in (
        "made by", "disjoint by person", "equal length", "same settings", "accepted as live", "near-frontal",
        "same pixels", "how the clips were made", "disjoint by driver",
    ):  # fmt: skip
        assert phrase not in text, phrase
    assert "6 real videos and 6 fake videos of 1 action. How many people's faces they are is not known." in text
    assert "By their ids, 2 people are in more than one split." in text
    assert "| train | 2 | 5 | not known |" in text
    assert "Whether the fakes pass liveness detection is not recorded." in text
