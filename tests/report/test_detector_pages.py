"""Protocols page: the right metric in the right cell, next to the paper's result."""

import re

import pytest
from report_pages import charts, tables, text

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.config.detectors import PROTOCOLS, EvaluationSettings
from deepfakemnist.evaluation.stage import evaluate
from deepfakemnist.report.condition_tables import animator_tables, group_tables
from deepfakemnist.report.detector_pages import write_protocols_page
from deepfakemnist.report.measurement_cells import RowIndex, cell, sizes, sizes_in_order
from deepfakemnist.report.paper import paper_accuracy, paper_action_accuracy
from deepfakemnist.tables.dataset_schemas import PREDICTIONS, VIDEOS
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import CROPPED

pytestmark = pytest.mark.slow

SETTINGS = EvaluationSettings()


def rows_of(correct, trained_on="raw", seed=0, qualities=("raw", "c23"), detector="resnet50"):
    """Twelve people with a real, a blink and a nod each, right where ``correct(quality, action, person)``."""
    rows = []
    for person in range(12):
        for quality in qualities:
            for action in ("", "blink", "nod"):
                label = int(bool(action))
                score = 0.9 if bool(label) == correct(quality, action, person) else 0.1
                rows.append(
                    {"video_id": f"p{person}{'@d-' + action if action else ''}", "label": label, "quality": quality,
                     "frame_index": 0, "action": action, "person_id": f"p{person}", "split": "test", "logit": 0.0,
                     "score": score, "detector": detector, "trained_on": trained_on, "seed": seed,
                     "checkpoint_sha256": "0"}
                )  # fmt: skip
    return rows


def folds_of(correct):
    """Two folds of people, each validated on the other."""
    return [
        {**row, "split": "test" if int(row["person_id"][1:]) % 2 == fold else "val"}
        for fold in range(2)
        for row in rows_of(correct, trained_on=f"c23-fold-{fold}", qualities=("c23",))
    ]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("protocols")

    def half(quality, action, person):
        return quality == "raw" or person >= 6

    predictions = [
        *rows_of(lambda *_: True),
        *rows_of(half, seed=1),
        *rows_of(half, trained_on="mixed"),
        *rows_of(lambda quality, action, person: action in ("", "nod"), trained_on="raw-only-nod", qualities=("raw",)),
        *rows_of(half, detector="meso4"),
        *rows_of(half, detector="mesoinception4"),
        *rows_of(lambda quality, action, person: bool(action), detector="xception"),  # calls every clip fake
        *rows_of(lambda quality, action, person: action in ("", "nod"), trained_on="raw-by-driver", qualities=("raw",)),
        *rows_of(half, trained_on="c23-split-paper"),
        *rows_of(half, trained_on="raw-only-nod-split-paper", qualities=("raw",)),
        *rows_of(lambda quality, action, person: person >= 3, trained_on="c23-people-25"),
        *rows_of(half, trained_on="c23-people-25-split-paper"),
        *folds_of(lambda quality, action, person: person >= 3),
    ]
    write_table(predictions, folder / "p.parquet", PREDICTIONS)
    elsewhere = [
        {**row, "quality": name}
        for row in rows_of(half)
        if row["quality"] == "c23"
        for name in ("mesh:c23", "raw+jpeg10")
    ]
    write_table(elsewhere, folder / "e.parquet", PREDICTIONS)
    videos = []
    for row in rows_of(lambda *_: True):
        driver = row["video_id"].partition("@")[2]
        common = {name: row[name] for name in ("label", "quality", "action")}
        person = int(row["person_id"][1:])
        fact = {**common, "driver_id": driver, "driver_person_id": driver, "animator": "fomm" if driver else ""}
        fact |= {"source_id": row["person_id"], "split_paper": "test", "fold": person % 2}
        # Of those by driver, only the blinks' driver is in test.
        apart = "" if driver == "d-nod" else "test"
        person_id = row["person_id"]
        videos.append(
            {**fact, "video_id": row["video_id"], "split": "test", "split_driver": apart, "person_id": person_id}
        )
        if driver and person == 0:  # the driver of nods is in train, like the fake; that of blinks is in another split
            apart = "train" if driver == "d-nod" else ""
            fact |= {"split": "train", "split_driver": apart, "split_paper": "train", "person_id": "t"}
            videos.append({**fact, "video_id": f"t@{driver}"})
    write_table(videos, folder / "v.parquet", VIDEOS)
    crops = [
        {"video_id": f"p{person}", "face_px": 50.0 + person, "sharpness": 1.0, "brightness": 9.0, "status": "ok"}
        for person in range(12)
    ]
    write_table(crops, folder / "c.parquet", CROPPED)
    names = [folder / f"{name}.tsv" for name in ("metrics", "actions", "pairs")]
    evaluate([folder / "p.parquet"], *names, SETTINGS)
    others = [folder / f"other_{name}.tsv" for name in ("metrics", "actions", "pairs")]
    evaluate([folder / "e.parquet"], *others, SETTINGS)
    groups = folder / "groups.tsv"
    with_videos = [folder / f"with_videos_{name}.tsv" for name in ("metrics", "actions", "pairs")]
    sources = {"videos": folder / "v.parquet", "crops": [folder / "c.parquet"]}
    evaluate([folder / "p.parquet"], *with_videos, SETTINGS, **sources, details={"groups": groups})
    write_protocols_page(names[0], names[1], groups, [others[0]], PROTOCOLS, folder / "page.html")
    return folder / "page.html"


@pytest.fixture(scope="module")
def page(file):
    """Tables of the page: title → rows, the header first."""
    return tables(file)


def row_of(table, *first):
    (row,) = [row for row in table[1:] if tuple(row[: len(first)]) == first]
    return dict(zip(table[0], row, strict=True))


def test_within_quality_cells_have_seeds_and_the_papers_result(page, file):
    table = page["1. Within-quality evaluation: balanced accuracy, %"]
    row = row_of(table, "resnet50")
    assert list(row) == ["detector", "raw", "c23", "interval for"]
    # Wilson's lower end for 12 of 12 people, with the t quantile 2.2 of 11 degrees of freedom.
    assert row["raw"] == "100 [71–100] ± 0 / 96.58"
    assert row["interval for"] == "new people; drivers unknown; new seeds"
    assert "All rows: videos: 36; people: 12." in text(file)
    assert row["c23"] == "– / 94.32"  # no detector was trained on c23 and split by person
    assert row_of(table, "meso4")["raw"].endswith("/ 60.39")
    assert "/" not in row_of(table, "mesoinception4")["raw"]  # the paper does not say that its MesoNet is this one
    assert row_of(table, "chance") == dict.fromkeys(row, "") | {"detector": "chance", "raw": "50", "c23": "50"}


def test_every_table_of_comparisons_states_chance(page):
    without = {title for title, table in page.items() if len(table) > 1 and table[-1][0] != "chance"}
    # Of one class each, where a constant answer has 0 or 100 %, as is said above them.
    assert without and all(title.startswith("5. Per-action accuracy of ") for title in without)


def test_a_constant_answer_is_at_chance_whatever_the_class_ratio(page):
    """Two of three clips are fake, so calling all of them fake is right for 66.7 % of the clips."""
    for title, table in page.items():
        assert "'67" not in str([row for row in table if row[0] == "xception"]), title
    constant = row_of(page["1. Within-quality evaluation: balanced accuracy, %"], "xception")
    assert constant["raw"].startswith("50 [") and constant["raw"].endswith("/ 92.38")
    by_action = page["5. Per-action accuracy of xception, %"]
    assert [row_of(by_action, name)["raw"].split()[0] for name in ("nod", "reals")] == ["100", "0"]


@pytest.mark.parametrize(("published", "said"), [(False, "here the splits are by person"), (True, "published with")])
def test_the_page_says_how_the_paper_and_how_this_dataset_was_split(tmp_path, published, said):
    for name in ("metrics", "actions"):
        (tmp_path / name).write_text("split\n")
    write_protocols_page(
        tmp_path / "metrics", tmp_path / "actions", None, [], [], tmp_path / "page.html", published_split=published
    )
    found = text(tmp_path / "page.html")
    assert "The paper split by video" in found and said in found


def test_cross_quality_and_mixed_training(page):
    title = "2. Cross-quality generalisation of resnet50: balanced accuracy, %, trained on rows, tested on columns"
    row = row_of(page[title], "raw")
    # One seed is correct on all, the other on half: of the two seeds that follow, nothing is known.
    assert re.fullmatch(r"75 \[0–100\] ± 35 / 85\.52", row["c23"])
    mixed = row_of(page["3. Mixed-quality training: balanced accuracy, %"], "resnet50")
    assert re.fullmatch(r"50 \[\d+–\d+\] / 90\.69", mixed["c23"])
    assert "meso4" not in str(page["3. Mixed-quality training: balanced accuracy, %"])


def test_single_action_training(page):
    table = page["4. Cross-action generalisation, trained on one action: resnet50"]
    found = {row[1]: row[3] for row in table[1:]}
    assert found["all"].startswith("75 [") and found["all"].endswith("/ ≈80.4")
    assert (found["nod"].split()[0], found["blink"].split()[0]) == ("100", "50")


def test_the_heat_map_of_actions_shows_cells_at_and_below_chance(file):
    rows = charts(file)["4. Cross-action generalisation, trained on one action"]
    assert {row["test action"]: row["shown"] for row in rows} == {"all": "75", "blink": "50", "nod": "100"}
    assert {(row["detector"], row["action"], row["tested on"]) for row in rows} == {("resnet50", "nod", "raw")}


def test_each_action_has_a_row_with_the_papers_result(page):
    table = page["5. Per-action accuracy of resnet50, %"]
    assert [row[0] for row in table[1:]] == [*ACTIONS, "reals"]
    assert row_of(table, "nod")["raw"] == "100 [71–100] ± 0 / ≈94.5"
    assert row_of(table, "smile")["raw"] == "– / ≈99.3"  # no fake of a smile was left to test
    assert row_of(table, "reals")["raw"].endswith(" / ≈94.5")


def test_seen_and_unseen_drivers(page):
    table = page["6. Seen and unseen drivers by driving clip: balanced accuracy, % (video level)"]
    unseen = row_of(table, "resnet50", "raw-by-driver", "raw")
    assert unseen["unseen"].startswith("50 [")  # the blinks, all missed
    assert unseen["seen"] == "–"
    assert (unseen["videos"], unseen["people"]) == ("–, 24", "–, 12")  # of the two values, in their order
    seen = row_of(table, "resnet50", "mixed", "raw")  # it was trained on both
    assert (seen["seen"][:5], seen["unseen"]) == ("100 [", "–")
    assert "6. Seen and unseen drivers by person in the driving clip: AUC, % (video level)" in page
    # Of one action, its seen drivers differ from the unseen ones in action.
    assert not [row for row in table if "only" in row[1]]


def test_training_on_other_drivers_stands_beside_training_on_all(page):
    row = row_of(page["6. Training on other drivers: balanced accuracy, %"], "resnet50", "raw", "raw")
    assert row["all drivers"].startswith("100 [")
    assert row["test drivers unseen in training"].startswith("75 [")


def test_splits_by_person_by_video_and_all_folds_stand_side_by_side(page):
    table = page["11. Split by person, by video as in the paper, and by fold: balanced accuracy, %"]
    row = row_of(table, "resnet50", "c23", "c23")
    assert row["by person"] == "–"  # nothing was trained on c23 by person
    assert row["by video"].startswith("50 [") and row["by video"].endswith(" / 94.32")
    assert row["all folds"].startswith("75 [")  # nine of twelve people, each tested once
    assert row["mean of folds"] == "75.0 ± 11.8"  # 4 and 5 of 6
    assert [row[0] for row in table[1:]] == ["resnet50", "chance"]


def test_the_papers_protocols_have_tables_by_its_own_split(page):
    within = row_of(page["1. Within-quality evaluation: balanced accuracy, % (split by video)"], "resnet50")
    assert within["c23"].startswith("50 [") and within["c23"].endswith(" / 94.32")
    assert within["raw"] == "– / 96.58"
    title = "2. Cross-quality generalisation of resnet50: balanced accuracy, %, trained on rows, tested on columns"
    assert [row[0] for row in page[f"{title} (split by video)"][1:]] == ["c23", "chance"]
    title = "4. Cross-action generalisation, trained on one action: resnet50 (split by video)"
    assert row_of(page[title], "nod", "all")["balanced accuracy %"].endswith(" / ≈80.4")
    assert row_of(page["5. Per-action accuracy of resnet50, % (split by video)"], "nod")["c23"].endswith(" / ≈93.0")
    assert "3. Mixed-quality training: balanced accuracy, % (split by video)" not in page  # nothing was trained so


def test_folds_and_shares_of_people_are_in_no_table_of_groups(page):
    for title in (
        "6. Seen and unseen drivers by driving clip: AUC, % (video level)",
        "10. Subgroups by face size, terciles of the test sources: AUC, % (video level)",
    ):
        trained = {row[1] for row in page[title][1:]}
        assert "c23-split-paper" in trained and not any("fold" in name or "people" in name for name in trained)


def test_training_set_size_has_a_column_per_share(page):
    row = row_of(page["12. Training-set size: balanced accuracy, %"], "resnet50", "c23", "c23")
    assert list(row)[3:] == ["25 % of people"] and row["25 % of people"].startswith("75 [")


def test_other_datasets_stand_beside_the_own_test_clips_of_the_same_quality(page):
    table = page["7, 8. Cross-animator and cross-dataset generalisation: balanced accuracy, %"]
    row = row_of(table, "resnet50", "raw", "c23")
    assert list(row)[3:] == ["own test clips", "mesh"]
    assert (row["own test clips"].split()[0], row["mesh"].split()[0]) == ("75", "50")
    assert [row[:3] for row in table[1:-1]] == [["resnet50", "raw", "c23"]]  # mesh has no other quality


def test_perturbations_stand_mild_to_strong_beside_the_unperturbed_frames(page):
    row = row_of(page["9. Robustness, JPEG: balanced accuracy, %"], "resnet50", "raw")
    assert list(row)[2:] == ["raw, unperturbed", *(f"quality {level}" for level in (90, 70, 50, 30, 10))]
    assert (row["raw, unperturbed"][:5], row["quality 90"], row["quality 10"][:4]) == ("100 [", "–", "50 [")
    assert "9. Robustness, noise: balanced accuracy, %" not in page  # not asked for


def test_robustness_curves_start_at_the_unperturbed_frames(file):
    rows = [
        row for row in charts(file)["9. Robustness: balanced accuracy by strength"] if row["detector"] == "resnet50"
    ]
    assert [(row["level"], row["setting"], row["balanced accuracy %"]) for row in rows] == [
        (0, "none", 100.0),
        (5, "quality 10", 50.0),
    ]
    assert {(row["perturbation"], row["trained on"], row["people"]) for row in rows} == {("JPEG", "raw", 12)}


def test_subgroups_by_terciles_of_the_sources(page):
    table = page["10. Subgroups by face size, terciles of the test sources: balanced accuracy, % (video level)"]
    row = row_of(table, "resnet50", "mixed", "c23")
    # People 0 to 5 are wrong.
    assert [row[value].split()[0] for value in ("low", "middle", "high")] == ["0", "50", "100"]
    assert row["low"] == "0 [4 people]"
    assert "10. Subgroups by animator: balanced accuracy, % (video level)" in page


def test_twice_the_training_sets_take_twice_the_reads_of_rows():
    class Row(dict):
        reads = 0

        def __getitem__(self, name):
            Row.reads += 1
            return super().__getitem__(name)

    def reads(detectors):
        measured = {"level": "video", "tested_on": "raw", "trained_on": "raw", "seed": "0", "balanced_accuracy": "0.9",
                    "auc": "0.9", "n_videos": "9", "n_people": "9", "generalises_to": "people"}  # fmt: skip
        rows = [
            Row(measured, detector=f"d{number}", group="driver", value=f"v{value}")
            for number in range(detectors)
            for value in range(10)
        ]
        Row.reads = 0
        for table in group_tables("6.", rows, {"driver"}):
            assert len(table.rows) == detectors + 1  # and the chance level
        return Row.reads

    # Linear but for what does not depend on the rows; a search for every cell reads four times as many.
    assert reads(40) < 2.1 * reads(20)


def test_rows_are_found_by_level_and_columns_in_the_order_of_the_table():
    rows = [
        {"level": level, "detector": detector, "seed": seed}
        for seed in "01"
        for level in ("frame", "video")
        for detector in ("a", "b")
    ]
    index = RowIndex(rows, ["detector"])
    assert index.find("video", detector="b") == [rows[3], rows[7]]
    assert index.find("video", detector="c") == []
    with pytest.raises(TypeError, match="by detector, not by seed"):
        index.find("video", seed="0")


def test_a_cell_of_one_seed_counts_beside_one_of_several(file):
    assert "All rows: videos: –, 36, 36; people: –, 12, 12" in text(file)  # of three kinds of split
    seeds = [{"seed": name, "n_videos": "9", "n_people": "3", "generalises_to": "new seeds"} for name in ("0", "mean")]
    single = [{"seed": "0", "n_videos": "5", "n_people": "2", "generalises_to": "this seed; too few people (2)"}]
    assert sizes([seeds, single]) == ["5–9", "2–3", "new seeds | this seed"]
    assert sizes_in_order([single, seeds, []]) == ["5, 9, –", "2, 3, –", "this seed | new seeds"]


def test_a_cell_with_too_few_people_for_an_interval_says_how_many():
    row = {"seed": "0", "auc": "1", "auc_low": "", "auc_high": "", "n_people": "2"}
    assert cell([row | {"generalises_to": "too few people (2)"}], "auc") == "100 [2 people]"
    in_one_class = row | {"n_people": "45", "generalises_to": "new people; this seed; too few people with fakes (8)"}
    assert cell([in_one_class], "auc") == "100 [8 people with fakes]"


def test_a_cell_without_a_measurement_is_a_dash():
    assert cell([], "auc") == "–"
    assert cell([{"seed": "0", "auc": ""}], "auc", "50.00") == "– / 50.00"


def test_the_papers_results_keep_its_decimals_and_those_off_a_chart_are_approximate():
    assert paper_accuracy("resnet152", "c40", "c23") == "76.69"
    assert paper_accuracy("resnet50", "raw", "c40") == "71.3"
    assert paper_accuracy("resnet50", "c40", "raw") == "59"
    assert paper_accuracy("xception", "c23", "c23") == "85.52"
    assert paper_accuracy("resnet152", "mixed", "c40") == "88.32"
    assert paper_accuracy("meso4", "c23", "c23") == "58.58"
    assert paper_accuracy("meso4_sharedbn", "c23", "c23") is None
    assert paper_accuracy("resnet50", "raw", "c30") is None
    assert paper_accuracy("resnet50", "raw-split-paper", "raw") == "96.58"
    assert paper_accuracy("resnet50", "raw-fold-0", "raw") is paper_accuracy("resnet50", "raw-people-50", "raw") is None
    assert paper_accuracy("resnet50", "raw-only-embarrassment", "raw") == "≈74.0"
    assert paper_accuracy("resnet50", "raw-without-nod", "raw") is None
    assert paper_action_accuracy("c40", "embarrassment") == "≈87.4"
    assert paper_action_accuracy("raw", "original") == "≈94.5"
    assert paper_action_accuracy("c30", "nod") is None


def test_an_animator_without_test_fakes_keeps_its_column_of_dashes():
    row = {
        "level": "video",
        "detector": "meso4",
        "trained_on": "raw-only-mesh",
        "tested_on": "raw",
        "group": "animator",
    }
    row |= {"value": "mesh", "seed": "0", "balanced_accuracy": "0.9", "auc": "0.9", "n_videos": "9", "n_people": "2"}
    row["generalises_to"] = "too few people (2)"
    for table in animator_tables("13. Unseen animators", [row], ["raw-only-mesh", "raw-only-fomm"]):
        assert list(table.columns)[3:5] == ["fakes of fomm", "fakes of mesh"]
        assert table.rows[0][:5] == ["meso4", "raw-only-mesh", "raw", "– unseen", "90 [2 people]"]
