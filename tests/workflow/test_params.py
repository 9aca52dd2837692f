from deepfakemnist.config.liveness import LocalActionSettings, LocalSilentSettings
from deepfakemnist.config.stages import CropSettings
from deepfakemnist.planning.assignment import Assignment
from deepfakemnist.workflow.params import described, key_texts, key_texts_by


def test_a_changed_key_changes_its_own_text_and_no_other():
    before, after = (set(key_texts("crop", CropSettings(size=size))) for size in (64, 128))
    assert (before - after, after - before) == ({"crop.size: 64"}, {"crop.size: 128"})


def test_swapped_values_are_a_change():
    assert set(key_texts("plan", {"quota": 3, "folds": 5})) != set(key_texts("plan", {"quota": 5, "folds": 3}))


def test_nested_keys_are_named_in_full_and_some_are_left_out():
    values = {"qualities": {"c23": {"crf": 23}}, "mark": {}, "train": {"steps": 4}}
    assert key_texts("compress", values, without=["train"]) == ["compress.mark: {}", "compress.qualities.c23.crf: 23"]


def test_the_texts_of_a_wildcard_are_those_of_its_section():
    weights = {"path": "weights.pth", "sha256": "0" * 64}
    sections = {
        "local-silent": LocalSilentSettings(provider="local-silent", minifasnet_v2=weights, minifasnet_v1se=weights),
        "local-action": LocalActionSettings(provider="local-action", strength=0.5),
    }
    functions = key_texts_by(lambda wildcards: wildcards["provider"], "liveness", sections)
    for name, section in sections.items():
        found = [function({"provider": name, "shard": "a"}) for function in functions]
        assert [text for text in found if text] == key_texts(f"liveness.{name}", section)


def test_a_section_more_changes_the_texts_of_no_other():
    few, many = LocalActionSettings(provider="local-action"), CropSettings()

    def texts(sections):
        return {function("a") for function in key_texts_by(str, "animator", sections)}

    assert texts({"a": few}) == texts({"a": few, "b": many})


def test_short_values_are_shown_and_long_ones_are_counted():
    assert described("rows", [{"video_id": "a"}]) == 'rows: [{"video_id": "a"}]'
    many = [{"video_id": f"video-{number}"} for number in range(99)]
    assert described("rows", many).startswith("rows: 99 entries, digest ")
    assert described("rows", many) != described("rows", [*many[1:], {"video_id": "other"}])
    one = Assignment("a", "p", "nod", "train", 0)
    assert described("candidates", [one]) != described("candidates", [one, one])
