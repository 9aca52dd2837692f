"""Training recipes: every setting takes effect, presets differ, and a killed training resumes bit for bit."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from deepfakemnist.config.dataset import CompressSettings
from deepfakemnist.config.detectors import DetectorTraining, TrainingSettings
from deepfakemnist.config.preparation import Preparation
from deepfakemnist.config.stages import CropSettings
from deepfakemnist.config.training_sets import TrainingSet, expand, parse_training_set, problem_of
from deepfakemnist.detectors.registry import build
from deepfakemnist.training.checkpoint import load_checkpoint
from deepfakemnist.training.loop import train_detector
from deepfakemnist.training.optimise import ema_decay, make_ema, make_optimizer
from deepfakemnist.training.training_log import best_epoch

pytestmark = pytest.mark.slow

torch.set_num_threads(1)
CPU = torch.device("cpu")
PREPARATION = Preparation(crop=CropSettings(margin=0.3), qualities=CompressSettings().qualities)
FIXED = {"name": "meso4", "image_size": 32, "preset": "fixed", "epochs": 3, "batch_size": 16}


def train(data, folder, recipe, trained_on="raw", **options):
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "checkpoint.safetensors", folder / "history.tsv"
    train_detector(data.index, data.videos, *paths, recipe, trained_on, 0, "cpu", **options)
    return paths


def lines(path):
    head, *rows = [line.split("\t") for line in path.read_text().splitlines()]
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_presets_fill_in_what_is_not_given():
    paper = DetectorTraining(name="resnet50", preset="paper")
    fixed = DetectorTraining(name="resnet50", preset="fixed", weight_decay=0.3, patience=None)
    assert (paper.optimizer, paper.schedule, paper.augmentation, paper.ema) == ("adam", "constant", "flip", None)
    assert (fixed.optimizer, fixed.schedule, fixed.augmentation) == ("adamw", "cosine", "strong")
    assert (fixed.weight_decay, fixed.patience, fixed.ema) == (0.3, None, 0.999)
    assert DetectorTraining(**fixed.model_dump(mode="json")) == fixed


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"preset": "best"}, "'plain', 'paper' or 'fixed'"),
        ({"label": "My ResNet"}, "use lower-case letters, digits"),
        ({"ema": 1.0}, "less than 1"),
        ({"weights": "imagenet21k"}, "imagenet"),
        ({"momentum": 0.9}, "Extra inputs are not permitted"),
    ],
)
def test_invalid_recipes_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        DetectorTraining(name="resnet50", **values)


def test_training_sets_have_names():
    assert parse_training_set("c23") == TrainingSet("c23")
    assert parse_training_set("raw-only-nod") == TrainingSet("raw", only="nod")
    assert parse_training_set("my-quality-without-right_slope") == TrainingSet("my-quality", without="right_slope")
    assert parse_training_set("raw-by-driver") == TrainingSet("raw", by_driver=True)
    assert parse_training_set("c23-split-paper") == TrainingSet("c23", split="paper")
    assert parse_training_set("c23-people-25-fold-3") == TrainingSet("c23", people=25, split="fold-3")
    assert parse_training_set("c23-people-25-fold-3").fold == 3
    assert parse_training_set("raw-only-nod-split-paper") == TrainingSet("raw", only="nod", split="paper")
    assert parse_training_set("my-q-without-fomm-b-people-25") == TrainingSet(
        "my-q", people=25, without_animator="fomm-b"
    )
    assert parse_training_set("raw-only-mesh-fold-2") == TrainingSet("raw", split="fold-2", only_animator="mesh")
    settings = TrainingSettings(
        detectors=[{"name": "meso4"}, {"name": "meso4", "label": "meso4_again"}],
        trained_on=["raw", "raw-only-each", "mixed-without-nod", "raw-only-nod", "mixed-by-driver"],
    )
    assert settings.sets(["nod", "yaw"], ["mesh"], folds=5) == [
        "raw",
        "raw-only-nod",
        "raw-only-yaw",
        "mixed-without-nod",
        "mixed-by-driver",
    ]
    assert settings.unusable_sets(["raw"], ["nod", "yaw"], ["mesh"], folds=5) == {}
    unusable = settings.unusable_sets(["c23"], ["yaw"], ["mesh"], folds=5)
    assert list(unusable) == ["raw", "raw-only-each", "mixed-without-nod", "raw-only-nod"]
    assert expand(["c23-only-each-fold-each", "raw-fold-1"], ["nod", "yaw"], ["mesh"], folds=2) == [
        "c23-only-nod-fold-0", "c23-only-nod-fold-1", "c23-only-yaw-fold-0", "c23-only-yaw-fold-1", "raw-fold-1",
    ]  # fmt: skip
    assert expand(["c23-without-each-animator-split-paper"], ["nod"], ["mesh", "fomm-b"], folds=5) == [
        "c23-without-mesh-split-paper", "c23-without-fomm-b-split-paper",
    ]  # fmt: skip
    assert "one animator" in problem_of("c23-without-mesh", ["c23"], ["nod"], ["mesh"], folds=5)
    with pytest.raises(ValueError, match="detectors contains duplicates"):
        TrainingSettings(detectors=[{"name": "meso4"}, {"name": "meso4"}], trained_on=["raw"])


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("c23-fold-5", "dataset.folds, 0 to 4"),
        ("c23-folds", "-fold-each"),
        ("c23-by-driver-fold-0", "another split"),
        ("c23-people-100", "has no known quality"),
        ("c23-fold-01", "has no known quality"),
        ("c23-split-paper", ""),
        ("mixed-without-each-people-50-fold-each", ""),
        ("c23-without-fomm-b-split-paper", ""),
        ("c23-only-each-animator", ""),
        ("c23-without-fomm", r"actions are ['nod'], animators are ['mesh', 'fomm-b']"),
        ("c23-only-yaw", "an action that is not planned"),
    ],
)
def test_what_is_wrong_with_a_training_set_is_said(name, problem):
    assert "3 or more" in problem_of(
        "c23-fold-each", ["c23"], ["nod"], ["mesh"], folds=2
    )  # nothing would be left to train on
    said = problem_of(name, ["c23"], ["nod"], ["mesh", "fomm-b"], folds=5)
    assert problem in said and bool(problem) == bool(said)


def test_weight_decay_spares_biases_and_norms():
    detector = build("meso4", image_size=32)
    recipe = DetectorTraining(name="meso4", weight_decay=0.1)
    decayed, spared = make_optimizer(detector, recipe).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert {parameter.ndim for parameter in spared["params"]} == {1}
    assert sum(p.numel() for p in (*decayed["params"], *spared["params"])) == 16 * 17 + 17 + 4 * 2 * 12 + (
        8 * 27 + 8 + 8 * 200 + 8 + 16 * 200 + 16 + 16 * 400 + 16
    )
    assert decayed["lr"] == 1e-3  # the detector's default, as the recipe has none
    kinds = {name: type(make_optimizer(detector, DetectorTraining(name="meso4", optimizer=name))) for name in
             ("adam", "adamw", "sgd")}  # fmt: skip
    assert kinds == {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


def test_the_ema_follows_slowly():
    detector = build("meso4", image_size=32)
    ema = make_ema(detector, 0.5)

    def update(step):
        ema.decay = ema_decay(step, 0.5)
        ema.update(detector)

    start = detector.network.head[5].bias.item()
    with torch.no_grad():
        detector.network.head[5].bias.fill_(start + 1.0)
    update(1)
    assert ema.module.network.head[5].bias.item() == pytest.approx(start + 1 - 2 / 11)
    for step in range(2, 32):
        update(step)
    assert ema.module.network.head[5].bias.item() == pytest.approx(start + 1.0, abs=1e-4)


def test_the_ema_averages_norm_statistics_and_copies_integer_buffers():
    detector = build("meso4", image_size=32)
    ema = make_ema(detector, 0.5)
    norm, averaged = (module.network.features[0][2] for module in (detector, ema.module))
    norm.running_mean.fill_(1.0)
    norm.num_batches_tracked.fill_(7)
    ema.update(detector)
    assert averaged.running_mean.tolist() == [0.5] * 8
    assert averaged.num_batches_tracked.item() == 7
    assert not ema.module.training


def test_with_ema_the_average_is_evaluated_and_kept(data, tmp_path):
    recipe = {**FIXED, "augmentation": "none", "patience": None}
    averaged, _ = train(data, tmp_path / "ema", DetectorTraining(**recipe))
    plain, _ = train(data, tmp_path / "plain", DetectorTraining(**recipe, ema=None))
    first, second = (load_checkpoint(path, CPU).detector.state_dict() for path in (averaged, plain))
    assert not torch.equal(first["network.head.2.weight"], second["network.head.2.weight"])


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "sgd"},
        {"schedule": "step", "step_epochs": 1},
        {"label_smoothing": 0.2},
        {"clip_norm": 0.01},
        {"sampling": "natural"},
        {"augmentation": "strong"},
        {"dropout": 0.1},
        {"warm_up": 0.9},
        {"precision": "bfloat16"},
    ],
)
def test_every_setting_of_a_recipe_changes_the_weights(data, tmp_path, change):
    base = {"name": "meso4", "image_size": 32, "epochs": 2, "batch_size": 32}
    before, _ = train(data, tmp_path / "before", DetectorTraining(**base))
    after, _ = train(data, tmp_path / "after", DetectorTraining(**base, **change))
    first, second = (load_checkpoint(path, CPU).detector.state_dict() for path in (before, after))
    assert not torch.equal(first["network.features.0.0.weight"], second["network.features.0.0.weight"])


def test_training_stops_early_without_improvement_on_val(data, tmp_path, caplog):
    caplog.set_level("INFO", logger="deepfakemnist.training.loop")
    # With a learning rate of almost zero no epoch is better than the first.
    recipe = DetectorTraining(
        **{**FIXED, "epochs": 30, "patience": 2, "learning_rate": 1e-12, "ema": None, "augmentation": "none"}
    )
    _, history = train(data, tmp_path, recipe)
    rows = lines(history)
    best = best_epoch(
        [{name: float(row[name]) for name in ("val_balanced_accuracy", "val_loss")} | {"epoch": int(row["epoch"])}
         for row in rows]
    )  # fmt: skip
    assert len(rows) == best + 2 < 30
    assert f"no improvement on val since epoch {best}: stopping early" in caplog.text


def test_events_and_model_card_agree_with_the_training_log(data, tmp_path):
    recipe = DetectorTraining(name="meso4", image_size=32, epochs=2, batch_size=32)
    options = {"card": tmp_path / "card.md", "events": tmp_path / "events", "preparation": PREPARATION}
    for _ in range(2):  # the second run must not add to the events of the first
        checkpoint, history = train(data, tmp_path, recipe, **options)
    rows = lines(history)
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("val/auc")] == [
        (int(row["epoch"]), pytest.approx(float(row["val_auc"]), abs=1e-5)) for row in rows
    ]
    card = (tmp_path / "card.md").read_text()
    decision = load_checkpoint(checkpoint, CPU).decision
    chosen = next(row for row in rows if row["chosen"] == "1")
    assert f"val_auc: {float(chosen['val_auc']):.4g}" in card
    assert (
        "* train_people: 12" in card
        and "* crop.margin: 0.3" in card
        and "* qualities.c23: codec libx264, crf 23, pix_fmt yuv420p, preset medium" in card
        and f"* threshold: {decision.threshold:.4g}" in card
        and "* learning_rate: 0.001" in card
        and "arXiv 1809.00888" in card
    )
    assert load_checkpoint(checkpoint, CPU).preparation == PREPARATION


def test_a_clip_detector_trains_and_predicts(data, tmp_path):
    from deepfakemnist.tables.files import read_table
    from deepfakemnist.training.predict import predict

    recipe = DetectorTraining(name="framediff_resnet18", image_size=32, epochs=1, batch_size=32)
    checkpoint, _ = train(data, tmp_path, recipe, trained_on="mixed-without-blink")
    predict(data.index, data.videos, checkpoint, tmp_path / "table.parquet", "cpu")
    table = read_table(tmp_path / "table.parquet")
    assert table.num_rows == 192
    assert set(table["trained_on"].to_pylist()) == {"mixed-without-blink"}


RUN = """
import sys, time, logging, torch
torch.set_num_threads(1)
from deepfakemnist.config.detectors import DetectorTraining
from deepfakemnist.training import loop
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s", force=True)
index, videos, folder, recipe = sys.argv[1:]
loop.train_detector(index, videos, f"{folder}/checkpoint.safetensors", f"{folder}/history.tsv",
                    DetectorTraining.model_validate_json(recipe), "raw", 0, "cpu")
"""


def start(data, folder, recipe):
    folder.mkdir(exist_ok=True)
    arguments = [str(data.index), str(data.videos), str(folder), recipe.model_dump_json()]
    return subprocess.Popen(
        [sys.executable, "-u", "-c", RUN, *arguments], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_a_killed_training_resumes_to_the_same_bytes(data, tmp_path):
    """With EMA, augmentation, dropout and a schedule, all of which must resume from their state."""
    recipe = DetectorTraining(**{**FIXED, "epochs": 5, "patience": None})
    whole = [path.read_bytes() for path in train(data, tmp_path / "whole", recipe)]
    process = start(data, tmp_path / "killed", recipe)
    for line in process.stdout:
        if line.startswith("epoch 2/5"):
            time.sleep(0.02)  # somewhere in the third epoch
            process.send_signal(signal.SIGKILL)
            break
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed/checkpoint.safetensors").exists()
    again = start(data, tmp_path / "killed", recipe)
    output, _ = again.communicate(timeout=120)
    assert again.returncode == 0
    assert "resuming after epoch 2 of 5" in output
    names = ("checkpoint.safetensors", "history.tsv")
    assert [(tmp_path / "killed" / name).read_bytes() for name in names] == whole
