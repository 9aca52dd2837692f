import copy
from pathlib import Path

import pytest
import yaml

from deepfakemnist.config.animators.registry import BUILT_IN, animator_settings
from deepfakemnist.config.load import Config, load_config
from deepfakemnist.config.schemas import schema_text
from deepfakemnist.config.settings_page import keys, page
from deepfakemnist.errors import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def raw(tmp_path):
    raw = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    for name in ("sources", "drivers"):
        (tmp_path / f"{name}.tsv").touch()
        raw[name]["sheet"] = str(tmp_path / f"{name}.tsv")
    return raw


def change(raw, key, value):
    raw = copy.deepcopy(raw)
    *path, last = key.split(".")
    if path[:1] == ["animator"]:
        raw.setdefault("animator", {})
    part = raw
    for name in path:
        part = part[int(name)] if isinstance(part, list) else part[name]
    part[last] = value
    return raw


def test_the_shipped_config_states_the_defaults(raw):
    config = load_config(raw)
    for part in ("crop", "plan", "select", "compress", "frames", "evaluation"):
        model = type(getattr(config, part))
        assert getattr(config, part) == model(), f"config.yaml differs from the defaults of {part}"
    assert config.animators == [animator_settings()]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("crop.detect_evry", 3, r"crop.detect_evry: unknown key; did you mean 'detect_every'\?.*min_face_px"),
        ("crops", {}, "crops: unknown key; did you mean 'crop'"),
        ("crop.size", "big", "crop.size: 'big' is not allowed: .*integer"),
        ("crop.min_score", 1.5, "crop.min_score: 1.5 is not allowed: .*less than or equal to 1"),
        ("plan.actions", ["wink"], "plan.actions.0: 'wink' is not allowed: .*'blink'"),
        ("plan.val_fraction", 0.9, "must leave people for train"),
        ("select.max_taering", 0.3, r"select.max_taering: unknown key; did you mean 'max_tearing'\?"),
        ("select.min_identity", 1.2, "select.min_identity: 1.2 is not allowed: .*less than or equal to 1"),
        ("select.min_sharpness", -0.1, "select.min_sharpness: -0.1 is not allowed: .*greater than or equal to 0"),
        (
            "animator.weights",
            "nowhere.pth.tar",
            "animator.weights: 'nowhere.pth.tar' is not a file; config/README.md says where",
        ),
        ("animator.name", "warp", "animator: name: 'warp' was removed; use mesh"),
        ("animator.train", {"steps": 7}, "animator: train.steps would have no effect, .* Set name: fomm"),
        ("animator", {"name": "fomm", "weights_sha256": "abc"}, "animator.weights_sha256: 'abc' is not allowed"),
        ("sources.sheet", "nowhere.tsv", "sources.sheet: 'nowhere.tsv' is not a file; .*make demo"),
        (
            "training.trained_on",
            ["c99"],
            r"'c99' has no known quality; qualities are \['raw', 'c23', 'c40', 'mixed'\]. A name is QUALITY, or",
        ),
        ("compress.qualities.c23.qp", 3, "compress.qualities.c23: set either crf or qp"),
        ("liveness.providers", [{"provider": "baidoo"}], "liveness.providers.0.*baidoo.*local-action"),
        ("shard_size", 0, "shard_size"),
    ],
)
def test_config_errors_name_key_value_and_what_is_allowed(raw, key, value, message):
    with pytest.raises(ConfigError, match=message):
        load_config(change(raw, key, value))


def test_all_problems_are_listed_at_once(raw):
    raw = change(change(raw, "seed", -1), "frames.per_clip", 0)
    with pytest.raises(ConfigError, match=r"(?s)seed: -1.*frames.per_clip: 0"):
        load_config(raw)


def test_the_papers_split_is_not_dealt_to_a_tree_that_has_it(raw, tmp_path):
    raw["sources"] = {"released": str(tmp_path), "sheet": None}
    raw["training"]["trained_on"] = ["c23", "c23-split-paper"]
    with pytest.raises(
        ConfigError, match=r"\['c23-split-paper'\] split by video as in the paper, .* name the quality alone"
    ):
        load_config(raw)


def test_files_that_a_folder_of_weights_lacks_are_named(raw, tmp_path):
    for name in ("motion_extractor", "spade_generator", "warping_module", "stitching_retargeting_module"):
        (tmp_path / f"{name}.pth").touch()
    raw["animator"] = {"name": "liveportrait", "weights": str(tmp_path)}
    with pytest.raises(ConfigError, match=r"animator.weights: '\S*appearance_feature_extractor.pth' is not a file"):
        load_config(raw)
    (tmp_path / "appearance_feature_extractor.pth").touch()
    load_config(raw)
    raw["storage"] = {"media": "packed"}
    with pytest.raises(ConfigError, match="weights of liveportrait are a folder; .*animator convert"):
        load_config(raw)


def test_paid_answers_are_not_left_to_jobs_that_share_no_folder(raw):
    raw["storage"] = {"media": "packed"}
    load_config(raw)
    raw["liveness"] = {"providers": [{"provider": "local-action"}, {"provider": "tianyan"}]}
    with pytest.raises(ConfigError, match="storage.media: packed, with tianyan, needs liveness.calls_from: login"):
        load_config(raw)
    raw["liveness"]["calls_from"] = "login"
    load_config(raw)


@pytest.mark.parametrize(
    ("changes", "used"),
    [
        ({}, None),
        ({"compress.max_frames": 80}, 80),
        ({"compress.max_frames": 40}, 50),  # a still face is judged from 2 s on
        ({"compress.max_frames": 40, "crop.min_frames": 64}, 64),
        ({"compress.max_frames": 40, "animator.source_frame": 90}, 91),
        ({"compress.max_frames": 40, "animator.name": "fomm"}, None),  # trained on the crops
        ({"compress.max_frames": 40, "animators": [{"name": "mesh"}, {"name": "mesh", "label": "mesh-b"}]}, 50),
        ({"compress.max_frames": 40, "animators": [{"source_frame": 90}, {"name": "mesh", "label": "mesh-b"}]}, 91),
    ],
)
def test_a_source_is_cropped_as_far_as_it_is_used(raw, changes, used):
    for key, value in changes.items():
        raw = change(raw, key, value)
    assert load_config(raw).used_source_frames == used


@pytest.mark.parametrize(
    ("animators", "message"),
    [
        ([], "animators: .*at least 1 item"),
        ([{"name": "mesh"}, {}], "config: animators: mesh twice; give each entry its own label, e.g. mesh-b"),
        ([{"name": "mesh"}, {"name": "mesh", "gaze": 3}], "animators.1.gaze: 3 is not allowed"),
        ([{"name": "mesh"}, {"name": "fomm", "traim": {}}], "animators.1.traim: unknown key; did you mean 'train'"),
        ([{"name": "mesh", "label": "drawn"}], "animators.0: label drawn must be mesh or begin with mesh-"),
        ([{"name": "mesh", "label": "mesh-fold-1"}], "label mesh-fold-1 would be ambiguous"),
        ([{"name": "fomm", "train": {"steps": 2}}, {"name": "fomm", "label": "fomm-b"}], "a run trains one"),
        ([{"name": "fom"}], r"animators.0: name: 'fom' is an unknown animator; did you mean 'fomm'\? Allowed are auto"),
        (["mesh"], "animators.0: .*an animator is a name with its settings"),
    ],
)
def test_what_is_wrong_with_several_animators_is_named(raw, animators, message):
    raw["animators"] = animators
    with pytest.raises(ConfigError, match=message):
        load_config(raw)


def test_one_animator_may_be_written_without_a_list_but_not_beside_one(raw):
    raw["animator"] = {"name": "mesh", "mouth": "synthetic"}
    assert load_config(raw).animators == [animator_settings(raw["animator"])]
    raw["animators"] = [{"name": "mesh"}]
    with pytest.raises(ConfigError, match="animator is short for animators with one entry; set one of the two"):
        load_config(raw)


def test_a_missing_section_is_named(raw):
    del raw["drivers"]
    with pytest.raises(ConfigError, match="drivers: missing"):
        load_config(raw)


@pytest.mark.parametrize("path", sorted((ROOT / "config").rglob("*.yaml")), ids=lambda path: path.name)
def test_no_yaml_file_has_a_key_twice(path):
    """YAML keeps the last one, in silence."""

    def repeated(node):
        if isinstance(node, yaml.MappingNode):
            names = [key.value for key, _ in node.value]
            return {name for name in names if names.count(name) > 1}.union(
                *(repeated(value) for _, value in node.value)
            )
        return set().union(*map(repeated, node.value)) if isinstance(node, yaml.SequenceNode) else set()

    assert repeated(yaml.compose(path.read_text())) == set()


@pytest.mark.parametrize("preset", sorted(path.name for path in (ROOT / "config/presets").glob("*.yaml")))
def test_presets_are_valid_on_top_of_the_config(raw, preset):
    from snakemake.utils import update_config

    merged = copy.deepcopy(raw)
    update_config(merged, yaml.safe_load((ROOT / "config/presets" / preset).read_text()))
    config = Config.model_validate(merged)
    assert config.animators[0].source_frame == (0 if preset == "paper.yaml" else "best")


def test_the_page_on_settings_of_animators_is_that_of_the_models():
    text = page(BUILT_IN)
    assert (ROOT / "config/animators.md").read_text(encoding="utf-8") == text, "run: make schemas"
    assert "| `train.discriminator.num_blocks` | 4 | integer |" in text
    for settings in BUILT_IN.values():
        undescribed = [key.name for key in keys(settings) if not key.meaning and "." not in key.name]
        assert undescribed == ["name"]


@pytest.mark.parametrize("name", ["config", "sources", "drivers"])
def test_json_schemas_match_the_models(name):
    path = ROOT / f"workflow/schemas/{name}.schema.json"
    assert path.read_text() == schema_text(name), "run: make schemas"
