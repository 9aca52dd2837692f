"""Animator training from disk and on several processes."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed as dist

from deepfakemnist.animate.fomm.checkpoint import load_checkpoint, save_checkpoint
from deepfakemnist.animate.fomm.network import FirstOrderMotionModel
from deepfakemnist.animate.training.clip_list import ClipList, listed_clip
from deepfakemnist.animate.training.discriminator import MultiScaleDiscriminator
from deepfakemnist.animate.training.loop import train_animator
from deepfakemnist.animate.training.pairs import TrainingClip
from deepfakemnist.animate.training.stage import train_animator_stage
from deepfakemnist.animate.training.state import TrainingState
from deepfakemnist.config.animators.fomm import DiscriminatorModel, FommSettings, TrainAnimatorSettings
from deepfakemnist.devices.distributed import Distributed
from deepfakemnist.devices.launch import launch_distributed
from deepfakemnist.media.encode import write_working_clip

pytestmark = pytest.mark.slow

DISK = TrainAnimatorSettings(
    steps=4, batch_size=4, size=32, frames_per_clip=8, samples_every=1000, checkpoint_every=2, frames="disk", ema=0.9
)
SMALL = DiscriminatorModel(block_expansion=4, max_features=8, num_blocks=2)


def train(clips, folder: Path, model, settings=DISK, **more) -> np.ndarray:
    path = folder / "weights.safetensors"
    train_animator(clips, path, folder / "work", model, settings, True, seed=0, device="cpu", **more)
    return torch.cat([value.flatten().double() for value in load_checkpoint(path).state_dict().values()]).numpy()


def test_training_from_disk_resumes_exactly_with_any_number_of_workers(tmp_path, small_model, moving_discs):
    clips = [TrainingClip(frames, f"person{i}") for i, frames in enumerate(moving_discs)]
    whole = train(clips, tmp_path / "whole", small_model)
    train(clips, tmp_path / "parts", small_model, DISK.model_copy(update={"stop_after": 3}), workers=1)
    np.testing.assert_array_equal(train(clips, tmp_path / "parts", small_model, workers=1), whole)


def average(folder: Path, device: str) -> None:
    """Write this rank's gradients before and after averaging."""
    distributed = Distributed.current()
    used, unused = (torch.nn.Parameter(torch.zeros(2, 3)) for _ in range(2))
    (used * torch.arange(6.0).view(2, 3) * (1 + distributed.rank)).sum().backward()
    distributed.average_gradients([used, unused])
    first = distributed.main_first(lambda: (folder / "written").exists() or (folder / "written").touch())
    found = {"gradient": used.grad.tolist(), "unused": unused.grad is None, "first": first}
    (folder / f"{distributed.rank}.json").write_text(json.dumps(found))


def test_ranks_average_their_gradients_and_wait_for_the_first(tmp_path):
    launch_distributed(average, 2, folder=tmp_path, device="cpu")
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    for one in found:
        assert one["gradient"] == (1.5 * np.arange(6.0).reshape(2, 3)).tolist()
        assert one["unused"]
    assert [one["first"] for one in found] == [None, True], "rank 1 finds what rank 0 wrote"
    assert not dist.is_initialized()


def test_two_processes_train_one_animator_and_resume(tmp_path, small_model, moving_discs):
    entries = []
    for i, frames in enumerate(moving_discs[:4]):
        write_working_clip(tmp_path / f"{i}.mp4", frames, 25.0)
        entries.append(listed_clip(str(i), f"person{i}", str(tmp_path / f"{i}.mp4")))
    ClipList("settings", entries).save(tmp_path / "clips.json")
    weights = {}
    for name, stops in (("whole", [None]), ("parts", [2, None])):
        folder = tmp_path / name
        for stop in stops:
            settings = DISK.model_copy(update={"stop_after": stop, "gpus": 2, "adversarial": 0.0})
            launch_distributed(
                train_animator_stage, 2, clips=tmp_path / "clips.json", checkpoint=folder / "weights.safetensors",
                folder=folder / "work", report=folder / "report.json", seed=0, device="cpu",
                settings=FommSettings(name="fomm", model=small_model, train=settings),
            )  # fmt: skip
        weights[name] = (folder / "weights.safetensors").read_bytes()
        report = json.loads((folder / "report.json").read_text())
        assert (report["steps"], report["clips"], report["held_out_clips"]) == (4, 3, 1)
        assert report["losses"][-1]["reconstruction"] > 0
    # Batch norms of CPUs are averaged by rank 0's at a saved state only, so both runs saved at the same steps.
    assert weights["whole"] == weights["parts"]


def new_state(model, start_from: Path, spectral_norm: bool) -> TrainingState:
    settings = DISK.model_copy(
        update={
            "adversarial": 1.0,
            "start_from": start_from,
            "discriminator": SMALL.model_copy(update={"spectral_norm": spectral_norm}),
        }
    )
    return TrainingState.new(model, settings, True, torch.Generator().manual_seed(0), torch.device("cpu"))


def test_training_starts_from_the_discriminator_of_a_checkpoint(tmp_path, small_model, caplog):
    """That of vox-adv-256 has no spectral norm; another architecture is named, and a new one trained."""
    path = tmp_path / "vox-adv-cpk.pth.tar"
    save_checkpoint(path, FirstOrderMotionModel(small_model), {})
    plain = SMALL.model_copy(update={"spectral_norm": False})
    wanted = MultiScaleDiscriminator(plain, small_model.num_kp, 3).state_dict()
    assert "discs.1.down_blocks.0.conv.weight" in wanted
    torch.save({**torch.load(path, weights_only=True), "discriminator": wanted}, path)
    found = new_state(small_model, path, spectral_norm=False).discriminator.state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in wanted.items())
    with caplog.at_level(logging.WARNING):
        new_state(small_model, path, spectral_norm=True)
    assert "has no spectral norm, as that of vox-adv-256" in caplog.text
    assert "set train.discriminator.spectral_norm to false" in caplog.text
    wanted["discs.1.conv.weight"] = torch.zeros(1, 1, 1, 1)
    torch.save({**torch.load(path, weights_only=True), "discriminator": wanted}, path)
    with caplog.at_level(logging.WARNING):
        new_state(small_model, path, spectral_norm=False)
    assert (
        "discs.1.conv.weight is (1, 1, 1, 1), the model's is (1, 8, 1, 1); a new discriminator is trained"
        in caplog.text
    )


def test_a_loss_that_was_not_finite_is_remembered_until_it_is_looked_at(tmp_path, small_model):
    """On a GPU the loss is looked at only where something is written."""
    save_checkpoint(tmp_path / "w.pth", FirstOrderMotionModel(small_model), {})
    state = new_state(small_model, tmp_path / "w.pth", spectral_norm=True)
    state.check_finite()
    state.note_finite(torch.tensor(float("nan")))
    state.note_finite(torch.tensor(1.0))
    with pytest.raises(FloatingPointError, match="not finite at step 0 or shortly before"):
        state.check_finite()
    state.check_finite()
