"""Findings of the confound audit: their table, and what report, card and release say of them.

Light on imports, because a release reads the table without auditing anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from deepfakemnist.tables.schemas import Row

COLUMNS = (
    "quality",
    "facts",
    "verdict",
    "fact",
    "auc",
    "pair_auc",
    "p",
    "detectable_auc",
    "auc_limit",
    "forest_auc",
    "videos",
    "people",
    "telling",
)
#: Values of ``verdict``, see :func:`deepfakemnist.dataset.audit.verdict`.
LEAK, DIFFERS, SLIGHT, NO_DIFFERENCE, CANNOT_TELL = "leak", "differs", "slight", "no difference", "cannot tell"
#: Sets of facts that nothing in the picture can cause.
LEAKING = ("container", "traces")
_WORDS = {
    "container": "the container (length, rate, order of boxes, tags, codec, the encoder's note)",
    "traces": "traces of how a clip was made (frozen start, repeated frames, a start equal to the source, padding)",
    "size": "the sizes of coded frames",
    "start": "how clips begin (distance from the source's frames, sharpness of the first frame)",
    "brightness": "brightness",
    "pictures": "sharpness, colour and frequency bands of still frames",
}
#: What a difference means for those who train on the dataset.
_MEANS = {
    "size": "a detector that reads coded streams could use that, one that reads decoded frames cannot",
    "start": "a detector that sees first frames could use that",
    "brightness": "a detector ought to do better than that",
    "pictures": "a detector ought to do better than that",
}


def leaks(rows: Sequence[Row]) -> list[Row]:
    """Return the rows whose verdict is a leak."""
    return [row for row in rows if row["verdict"] == LEAK]


def leak_message(rows: Sequence[Row]) -> str:
    """Return what leaks, for a message; empty without leaks."""
    found = leaks(rows)
    named = "; ".join(
        f"{row['facts']} at {row['quality']} ({row['fact']}, AUC {_number(row['auc'])}{_pairs(row)}, "
        f"{row['videos']} videos of {row['people']} people)"
        for row in found
    )
    return f"real and fake are told apart by what no picture can cause: {named}" if found else ""


def statements(rows: Sequence[Row]) -> list[str]:
    """Return the audit in sentences: leaks first, then what was looked for in vain, then what differs."""
    sentences = []
    if message := leak_message(rows):
        sentences.append(f"LEAK: {message}.")
    for facts in LEAKING:
        of = [row for row in rows if row["facts"] == facts]
        equal = [row for row in of if row["verdict"] == NO_DIFFERENCE]
        if of and len(equal) == len(of):
            sentences.append(
                f"Real and fake do not differ in {_WORDS[facts]}: {_limit(equal)}, "
                f"{equal[0]['videos']} videos of {equal[0]['people']} people."
            )
        few = [row for row in of if row["verdict"] == CANNOT_TELL]
        if few:
            sentences.append(
                f"Too few videos ({few[0]['videos']} of {few[0]['people']} people) to tell whether real and fake "
                f"differ in {_WORDS[facts]}."
            )
        if slight := [row for row in of if row["verdict"] == SLIGHT]:
            worst = max(slight, key=lambda row: float(row["auc"]))
            sentences.append(
                f"Real and fake differ slightly in {_WORDS[facts]}: AUC {_number(worst['auc'])} ({worst['fact']})."
            )
    for facts, means in _MEANS.items():
        of = [row for row in rows if row["facts"] == facts and row["verdict"] == DIFFERS]
        if of:
            worst = max(of, key=lambda row: max(float(row["auc"]), float(row["forest_auc"])))
            value = max(float(worst["auc"]), float(worst["forest_auc"]))
            sentences.append(
                f"Real and fake differ in {_WORDS[facts]}: AUC {value:.2f} at {worst['quality']} "
                f"({worst['telling'].split(', ')[0] or worst['fact']} alone); {means}."
            )
    return sentences


def _limit(rows: Sequence[Row]) -> str:
    """Return how large a difference may be at most, in 95 of 100 datasets."""
    known = [float(row["auc_limit"]) for row in rows if row["auc_limit"] not in (None, "")]
    return f"no fact has an AUC above {max(known):.2f} (95 % confidence)" if known else "all are equal"


def _pairs(row: Row) -> str:
    value = row["pair_auc"]
    return f", {_number(value)} within a person" if value not in (None, "") else ""


def _number(value: float | str) -> str:
    return f"{float(value):.2f}"
