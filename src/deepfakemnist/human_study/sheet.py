"""Sheet of a human study: randomly chosen clips under neutral names, a form to rate them, and the key.

Half of the clips are real. Nobody is shown twice, so that no rater compares a real with its fake, and the actions of
the fakes are balanced. The key stays with the experimenter; the folder of the participants says nothing of the classes
but what the files themselves do: synthetic-media marks stay on the fakes, and players do not show them.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import seed_from
from deepfakemnist.tables.files import atomic_path, read_rows
from deepfakemnist.tables.schemas import Row
from deepfakemnist.tables.tsv import write_tsv

KEY_COLUMNS = ("clip", "label", "action", "person_id", "video_id", "quality", "sha256")
#: Ratings from 1 to 6 without a middle: from 4 on, the clip is taken for a fake.
RATINGS = {
    1: "surely real",
    2: "probably real",
    3: "perhaps real",
    4: "perhaps fake",
    5: "probably fake",
    6: "surely fake",
}
PARTICIPANTS = "participants"
_ENVIRONMENT = Environment(
    loader=PackageLoader("deepfakemnist.human_study", "templates"), autoescape=True, undefined=StrictUndefined
)


def choose_clips(videos: Sequence[Row], count: int, quality: str, split: str, seed: int) -> list[Row]:
    """Return the rows of ``count`` clips in random order: half real, half fake, of as many people.

    Args:
        videos: rows of tables.VIDEOS.
        count: number of clips, even.
        quality: quality to show.
        split: split to choose from.
        seed: seed of the choice.

    Raises: ConfigError for an odd count, an unknown quality, and fewer people than clips.
    """
    if count < 2 or count % 2:
        raise ConfigError(f"--clips {count}: must be even and at least 2, because half of the clips are real")
    qualities = sorted({row["quality"] for row in videos})
    if quality not in qualities:
        raise ConfigError(f"--quality {quality!a}: the dataset has {', '.join(qualities)}")
    rows = [row for row in videos if (row["quality"], row["split"]) == (quality, split)]
    fakes_of: dict[str, list[Row]] = {}
    reals_of: dict[str, list[Row]] = {}
    for row in rows:
        (fakes_of if row["label"] else reals_of).setdefault(row["person_id"], []).append(row)
    order = sorted({*fakes_of, *reals_of}, key=lambda person: seed_from(seed, "study", person))
    if len(order) < count:
        raise ConfigError(
            f"--clips {count}: split {split} has {len(order)} people at quality {quality}, and nobody is shown twice; "
            f"ask for at most {len(order) - len(order) % 2}"
        )
    used: Counter[str] = Counter()
    fakes = []
    for person in [one for one in order if one in fakes_of][: count // 2]:
        # The action shown least so far, among those that there are of this person.
        fake = min(fakes_of[person], key=lambda row: (used[row["action"]], seed_from(seed, "study", row["video_id"])))
        used[fake["action"]] += 1
        fakes.append(fake)
    taken = {row["person_id"] for row in fakes}
    others = [one for one in order if one in reals_of and one not in taken][: count // 2]
    reals = [min(reals_of[one], key=lambda row: seed_from(seed, "study", row["video_id"])) for one in others]
    if len(fakes) < count // 2 or len(reals) < count // 2:
        raise ConfigError(
            f"--clips {count}: split {split} has fakes of {len(fakes_of)} people and reals of {len(reals_of)}, and "
            "nobody is shown twice; ask for fewer"
        )
    return sorted([*fakes, *reals], key=lambda row: seed_from(seed, "order", row["video_id"]))


def write_study(manifest: Path, out: Path, count: int, quality: str, split: str, seed: int) -> int:
    """Write the clips with their form to ``out/participants`` and the key to ``out/key.tsv``; return the clips.

    Args:
        manifest: folder of videos.parquet, whose paths are relative to the working directory.
        out: new or empty folder.
        count, quality, split, seed: see :func:`choose_clips`.

    Raises: ConfigError, see :func:`choose_clips`; also for a folder that is not empty, and for a missing clip.
    """
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out}: is not empty; give a new folder, because the answers belong to one set of clips")
    if not (manifest / "videos.parquet").is_file():
        raise ConfigError(f"{manifest}: contains no videos.parquet; give the folder of a manifest")
    chosen = choose_clips(read_rows(manifest / "videos.parquet"), count, quality, split, seed)
    if missing := [row["path"] for row in chosen if not Path(row["path"]).is_file()]:
        raise ConfigError(f"{missing[0]}: is missing, with {len(missing) - 1} others; run from the folder of the run")
    folder = out / PARTICIPANTS
    folder.mkdir(parents=True)
    key = []
    for number, row in enumerate(chosen, start=1):
        name = f"clip-{number:03d}"
        shutil.copyfile(row["path"], folder / f"{name}.mp4")
        key.append({**{column: row[column] for column in KEY_COLUMNS if column != "clip"}, "clip": name})
    names = [str(row["clip"]) for row in key]
    page = _ENVIRONMENT.get_template("form.html.j2").render(clips=json.dumps(names), ratings=RATINGS, count=len(names))
    with atomic_path(folder / "form.html") as part:
        part.write_text(page, encoding="utf-8")
    write_tsv(out / "key.tsv", KEY_COLUMNS, key)
    return len(key)
