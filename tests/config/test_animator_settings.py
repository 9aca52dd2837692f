"""Animator settings: which animator auto is, removed and unknown names, settings that contradict each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfakemnist.config.animators.registry import animator_settings

#: A value other than the default of every setting of First Order Motion Model alone.
FOMM_ONLY = {
    "weights_sha256": "0" * 64,
    "model": {"num_kp": 5},
    "motion": "absolute",
    "adapt_scale": False,
    "align_corners": True,
    "precision": "tf32",
    "batch_size": 4,
    "train": {"discriminator": {"num_blocks": 2}},
}


@pytest.mark.parametrize("given", [{}, {"name": "auto"}])
def test_auto_is_fomm_with_weights_and_mesh_without(given: dict) -> None:
    assert animator_settings(**given).name == "mesh"
    assert animator_settings(**given, weights=None).name == "mesh"
    settings = animator_settings(**given, weights=Path("vox-cpk.pth.tar"))
    assert (settings.name, settings.needs_training) == ("fomm", False)
    url = {"weights": "vox.tar", "weights_sha256": "0" * 64, "weights_url": "https://example.org/vox.tar"}
    assert animator_settings({**given, **url}).name == "fomm"


def test_the_resolved_name_is_what_jobs_are_given() -> None:
    given = animator_settings().model_dump(mode="json")
    assert given["name"] == "mesh"
    assert animator_settings(**given) == animator_settings()


def test_fomm_by_name_without_weights_is_trained() -> None:
    settings = animator_settings(name="fomm", train={"steps": 5})
    assert (settings.name, settings.needs_training) == ("fomm", True)
    assert not animator_settings().needs_training


@pytest.mark.parametrize("key", FOMM_ONLY)
def test_settings_that_auto_would_ignore_are_refused(key: str) -> None:
    given = {key: FOMM_ONLY[key]}
    with pytest.raises(ValueError, match=rf"{key}\b.* would have no effect.* Set name: fomm"):
        animator_settings(**given)
    assert animator_settings(**given, name="fomm").name == "fomm"
    assert animator_settings(**given, weights="vox-cpk.pth.tar").name == "fomm"


def test_all_refused_settings_are_named_by_their_keys() -> None:
    with pytest.raises(ValueError, match="model, motion, precision, train.steps, train.discriminator.num_blocks would"):
        animator_settings(
            model={}, motion="absolute", precision="fast", train={"steps": 5, "discriminator": {"num_blocks": 2}}
        )


def test_a_removed_animator_names_its_replacement_and_an_unknown_one_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="'warp' was removed; use mesh"):
        animator_settings(name="warp")
    with pytest.raises(ValueError, match="unknown animator; did you mean 'fomm'\\? Allowed are auto, fomm, "):
        animator_settings(name="fom")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"motion": "absolute", "adapt_scale": True}, "adapt_scale: true has no effect with motion: absolute"),
        ({"motion": "absolute", "start_frame": "best"}, "start_frame: best has no effect"),
        ({"motion": "absolute", "start_frame": "neutral"}, "start_frame: neutral has no effect"),
        ({"weights_url": "https://example.org/vox.pth.tar"}, "needs weights .* and weights_sha256"),
        (
            {"name": "mesh", "weights": "vox.pth.tar"},
            "name: mesh takes no weights; set weights, now vox.pth.tar, to null",
        ),
        ({"name": "mesh", "motion": "absolute"}, "set motion: relative and adapt_scale: true"),
        ({"name": "mesh", "adapt_scale": False}, "set motion: relative and adapt_scale: true"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        animator_settings(**{"name": "fomm", **settings})
