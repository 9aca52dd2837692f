"""Claims about a dataset: every sentence of its card and metadata that could be false, with the facts that it needs.

A topic has its claims in order; the first that holds is said, and none where nothing is known. What the tables do not
say is not claimed, and where a reader would expect it, the card says that it is not known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deepfakemnist.dataset.facts import Facts


@dataclass(frozen=True)
class Claim:
    """Sentence on a dataset.

    Args:
        name: name for its test, which has a dataset where it holds and one where it must not be said.
        holds: whether the facts bear it out.
        text: the sentence, or a function of the facts.
    """

    name: str
    holds: Callable[[Facts], bool]
    text: str | Callable[[Facts], str]

    def sentence(self, facts: Facts) -> str:
        """Return the sentence for these facts."""
        return self.text if isinstance(self.text, str) else self.text(facts)


def say(facts: Facts, *topics: str) -> str:
    """Return the first claim of each topic that holds, as one text; nothing of a topic of which nothing is known."""
    sentences = (next((claim.sentence(facts) for claim in TOPICS[topic] if claim.holds(facts)), "") for topic in topics)
    return " ".join(filter(None, sentences))


def describe(facts: Facts) -> str:
    """Return a one-paragraph description of the dataset with its counts."""
    return say(facts, *_DESCRIPTION)


def _count(number: int, what: str, several: str = "") -> str:
    return f"{number} {what if number == 1 else several or what + 's'}"


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _qualities(facts: Facts) -> str:
    return f"{'quality' if len(facts.qualities) == 1 else 'qualities'} {_listed(facts.qualities)}"


def _animators(facts: Facts) -> str:
    return _listed([f"{name} (licence: {licence})" for name, licence in facts.animators.items()])


_KEEP_MARKS = (
    "The marks are metadata and leave the pixels unchanged. Keep them on files you redistribute, and train on decoded "
    "frames only."
)
#: Topics of the description, in its order.
_DESCRIPTION = ("contents", "people", "qualities", "origin", "synthetic")

TOPICS: dict[str, tuple[Claim, ...]] = {
    "contents": (
        Claim(
            "counts",
            lambda f: True,
            lambda f: (
                f"{_count(f.real, 'real video')} and {_count(f.fake, 'fake video')} of "
                f"{_count(len(f.actions), 'action')}."
            ),
        ),
    ),
    "people": (
        Claim(
            "people",
            lambda f: f.people is not None,
            lambda f: f"By their ids, the faces are those of {_count(f.people or 0, 'person', 'people')}.",
        ),
        Claim("people unknown", lambda f: f.people is None, "How many people's faces they are is not known."),
    ),
    "qualities": (
        Claim("every quality", lambda f: f.complete, lambda f: f"Every video is there at the {_qualities(f)}."),
        Claim("some qualities", lambda f: not f.complete, lambda f: f"Some videos lack one of the {_qualities(f)}."),
    ),
    "origin": (
        Claim(
            "made by a workflow",
            lambda f: f.recorded and f.encoding_recorded and not f.published,
            "The fakes were made by the DeepFakeMnist+ workflow.",
        ),
        Claim(
            "published by others",
            lambda f: f.published,
            "The clips were published by others.",
        ),
        Claim(
            "origin unknown",
            lambda f: not (f.recorded and f.encoding_recorded),
            "How the fakes were made is not recorded, or not of all.",
        ),
    ),
    "synthetic": (
        Claim(
            "synthetic",
            lambda f: f.fake > 0 and f.synthetic == f.fake,
            "The fakes are synthetic videos of events that never happened.",
        ),
    ),
    "recipe": (
        Claim(
            "recipe",
            lambda f: f.recorded,
            lambda f: (
                "As in *DeepFake MNIST+* (arXiv 2108.07949), every fake shows the face of one video, animated by "
                f"another that performs its action; here {_count(len(f.actions), 'action')}."
            ),
        ),
    ),
    "liveness": (
        Claim(
            "all live",
            lambda f: f.fake > 0 and f.live == f.fake and bool(f.providers),
            lambda f: f"Every fake was accepted as live by {_listed(f.providers)}.",
        ),
        Claim(
            "some live",
            lambda f: f.with_verdicts > 0,
            lambda f: f"{f.live} of {_count(f.fake, 'fake')} are recorded as accepted as live.",
        ),
        Claim(
            "liveness unknown",
            lambda f: f.with_verdicts == 0,
            "Whether the fakes pass liveness detection is not recorded.",
        ),
    ),
    "split": (
        Claim(
            "published split",
            lambda f: f.published,
            "The split is the one that the clips were published with.",
        ),
    ),
    "split by person": (
        Claim(
            "people in two splits",
            lambda f: f.people_in_two_splits > 0,
            lambda f: (
                f"By their ids, {_count(f.people_in_two_splits, 'person is', 'people are')} in more than one split."
            ),
        ),
        Claim("person-disjoint", lambda f: f.people is not None, "By their ids, no person is in two splits."),
        Claim("disjoint unknown", lambda f: f.people is None, "Whether a person is in two splits is not known."),
    ),
    "split of pairs": (
        Claim(
            "fakes with their real",
            lambda f: f.fakes_with_their_real,
            "A fake is in the split of the real video that it animates.",
        ),
    ),
    "driver split": (
        Claim(
            "driver split",
            lambda f: f.driver_split,
            "`split_driver` is disjoint by driver too, without the fakes whose driver is in another split.",
        ),
    ),
    "paper split": (
        Claim(
            "paper split",
            lambda f: bool(f.paper_split),
            lambda f: (
                f"`split_paper` divides the fakes {'/'.join(map(str, f.paper_split.values()))}, by video as the "
                "paper's 70/15/15 %; one person may be in two of its parts."
            ),
        ),
    ),
    "folds": (
        Claim(
            "folds by person",
            lambda f: f.folds > 0 and f.folds_by_person,
            lambda f: f"`fold` has {_count(f.folds, 'cross-validation fold')}, disjoint by person.",
        ),
        Claim(
            "folds",
            lambda f: f.folds > 0,
            lambda f: f"`fold` has {_count(f.folds, 'cross-validation fold')} by person_id.",
        ),
    ),
    "encoding": (
        Claim(
            "one chain",
            lambda f: f.one_chain and not f.published,
            "At each quality, real and fake clips were encoded by one encoder with the same settings.",
        ),
        Claim(
            "one chain, after another",
            lambda f: f.one_chain,
            "At each quality, real and fake clips were encoded by one encoder with the same settings, from published "
            "clips whose earlier encodings are not known and may reveal the class.",
        ),
        Claim(
            "several chains",
            lambda f: f.encoding_recorded,
            "Real and fake clips were encoded with different settings or encoders, which may reveal the class.",
        ),
        Claim(
            "chain unknown",
            lambda f: not f.encoding_recorded,
            "How the clips were encoded is not recorded, and may reveal the class.",
        ),
    ),
    "sizes": (
        Claim("one size", lambda f: len(f.sizes) == 1, lambda f: f"All clips have {min(f.sizes)}."),
        Claim("several sizes", lambda f: len(f.sizes) > 1, "The clips differ in size or rate."),
    ),
    "lengths": (
        Claim(
            "lengths differ",
            lambda f: f.pairs_of_one_length < f.pairs_compared,
            lambda f: (
                f"In {f.pairs_compared - f.pairs_of_one_length} of {_count(f.pairs_compared, 'pair')} the clips differ "
                "in length, and then their duration reveals the class."
            ),
        ),
        Claim(
            "one length",
            lambda f: f.fake > 0 and f.pairs_compared == f.fake,
            "The real and the fake clip of a pair have equal length.",
        ),
        Claim(
            "lengths unknown",
            lambda f: f.pairs_compared < f.fake,
            lambda f: (
                f"For {_count(f.fake - f.pairs_compared, 'fake')} the real clip is not known or not here, so lengths "
                "were not compared, and duration may reveal the class."
            ),
        ),
    ),
    "encoder pixels": (
        Claim("x264", lambda f: f.x264_only, "The x264 encode gives the same pixels on every processor."),
    ),
    "animator pixels": (
        Claim(
            "animator pixels",
            lambda f: 0 < f.pixels_vouched == f.fake,
            "`reproducible_pixels` in `manifest/videos.parquet` says whether a fake's animator does too.",
        ),
    ),
    "identities": (
        Claim(
            "found across splits",
            lambda f: f.audited and bool(f.across_splits),
            lambda f: (
                f"Real clips were compared by pixels and by face embedding. **Across splits: {f.across_splits}.**"
            ),
        ),
        Claim(
            "accepted across splits",
            lambda f: f.audited and bool(f.accepted),
            "Real clips were compared by pixels and by face embedding. Neither pixels nor a face were found in two "
            "splits, but for the pairs below.",
        ),
        Claim(
            "none across splits",
            lambda f: f.audited,
            "Real clips were compared by pixels and by face embedding. Neither pixels nor a face were found in two "
            "splits.",
        ),
        Claim(
            "not compared",
            lambda f: not f.audited,
            "Real clips were not compared by face: one person may be in two splits under two ids.",
        ),
    ),
    "identities within": (
        Claim(
            "found within splits",
            lambda f: f.audited and bool(f.within_splits),
            lambda f: f"Within a split: {f.within_splits}.",
        ),
    ),
    "confounds": (
        Claim("confounds", lambda f: f.confounds is not None, lambda f: " ".join(f.confounds or ())),
        Claim(
            "confounds unknown",
            lambda f: f.confounds is None,
            "It was not tested whether anything besides the picture tells real from fake.",
        ),
    ),
    "allowed leaks": (
        Claim(
            "allowed leaks",
            lambda f: bool(f.allowed_leaks),
            lambda f: f"It is released all the same, because: {f.allowed_leaks.rstrip('.')}.",
        ),
    ),
    "animators": (
        Claim(
            "animators",
            lambda f: f.fake > 0 and f.without_animator == 0,
            lambda f: f"Fakes were made by {_animators(f)}.",
        ),
        Claim(
            "some animators",
            lambda f: bool(f.animators),
            lambda f: (
                f"Fakes were made by {_animators(f)}; for {f.without_animator} of {_count(f.fake, 'fake')} no animator "
                "is recorded."
            ),
        ),
        Claim("animators unknown", lambda f: f.fake > 0, "Which animator made the fakes is not recorded."),
    ),
    "labels": (
        Claim(
            "labels by construction",
            lambda f: f.recorded and not f.published,
            "Labels follow from how the clips were made; there was no manual annotation.",
        ),
        Claim(
            "labels as published",
            lambda f: f.published or not f.recorded,
            "Labels are those that the clips came with.",
        ),
    ),
    "unlicensed": (
        Claim(
            "unlicensed",
            lambda f: f.licences.get("", 0) > 0,
            lambda f: f"**{_count(f.licences[''], 'source states', 'sources state')} no licence.**",
        ),
    ),
    "mouths": (
        Claim(
            "mouths",
            lambda f: f.mouths_of_drivers > 0,
            lambda f: (
                f"In {_count(f.mouths_of_drivers, 'fake')} the inside of the mouth shows pixels of the driver, so they "
                "show two people; `mouth_from` in `manifest/videos.parquet` says which."
            ),
        ),
    ),
    "left out": (
        Claim(
            "left out",
            lambda f: f.left_out > 0,
            lambda f: (
                f"{_count(f.left_out, 'video was', 'videos were')} left out, on request or because of their licence."
            ),
        ),
    ),
    "marks": (
        Claim(
            "all marked",
            lambda f: f.fake_files > 0 and f.marked_files == f.fake_files,
            lambda f: f"Every fake file is marked as synthetic ({_listed(f.marks)}). {_KEEP_MARKS}",
        ),
        Claim(
            "some marked",
            lambda f: f.marked_files > 0,
            lambda f: (
                f"{f.marked_files} of {_count(f.fake_files, 'fake file')} are marked as synthetic "
                f"({_listed(f.marks)}). {_KEEP_MARKS}"
            ),
        ),
        Claim(
            "none marked",
            lambda f: f.fake_files > 0,
            "The fake files carry no synthetic-media marks; keep them separate from real ones.",
        ),
    ),
    "variety": (
        Claim(
            "variety",
            lambda f: f.fake > 0 and f.without_animator == 0,
            lambda f: f"{_count(len(f.animators), 'animator')}, {_count(len(f.actions), 'action')}.",
        ),
        Claim(
            "variety unknown",
            lambda f: f.fake > 0,
            lambda f: f"{_count(len(f.actions), 'action')}; how many animators is not known.",
        ),
    ),
    "selection": (
        Claim(
            "selected by liveness",
            lambda f: f.fake > 0 and f.live == f.fake and bool(f.providers),
            "Which people are in the fakes follows from the sources and from which fakes passed liveness detection.",
        ),
    ),
}
