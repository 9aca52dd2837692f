"""Results of ``train_small_animator.py``: checkpoint, held-out metrics, and sample sheets."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from look_pool import LookPool
from small_animator_settings import SmallAnimator
from torch.utils.flop_counter import FlopCounterMode

from deepfakemnist.actors import Actor, Framing, load_bank, perform
from deepfakemnist.animate.fomm.checkpoint import load_checkpoint, save_checkpoint
from deepfakemnist.animate.fomm.network import FirstOrderMotionModel, Keypoints
from deepfakemnist.animate.fomm.transfer import relative_motion, size_ratio
from deepfakemnist.animate.training.loop import measure
from deepfakemnist.animate.training.sample_sheet import sample_sheet, write_png
from deepfakemnist.animate.training.state import TrainingState
from deepfakemnist.animate.weight_files import checkpoint_sha256
from deepfakemnist.ids import seed_from

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.safetensors"
_LARGEST_FILE = 16_000_000
_SHEET_ROWS = 6
_SHOWN_MOMENTS, _SHOWN_FRAMES = 6, 16  # the minimum of a performance


def write_results(
    settings: SmallAnimator,
    state: TrainingState,
    held_out: LookPool,
    out: Path,
    save: Callable[..., None],
    device: torch.device,
) -> None:
    """Write the checkpoint, evaluate it as written, and render sample sheets.

    Args:
        settings: of the training.
        state: final training state.
        held_out: looks for evaluation.
        out: output folder.
        save: adds results, as keywords, to the record.
        device: to run the networks on.

    Raises: OSError for a file larger than 16 MB.
    """
    train, rendering = settings.animator.train, settings.rendering
    path = out / CHECKPOINT
    facts = {
        "steps": state.step,
        "seed": settings.seed,
        "data": f"looks of heads 0 to {rendering.heads - 1} of the bank of synthetic heads, rendered while training",
    }
    save_checkpoint(path, state.result, facts, half=True)
    networks = load_checkpoint(path, settings.animator.model).to(device)
    results: dict[str, Any] = {
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": checkpoint_sha256(path),
        "parameters": sum(parameter.numel() for parameter in networks.parameters()),
        "gflop_per_frame": round(flops(networks, train.size) / 1e9, 2),
        "torch": str(torch.__version__),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
    }
    if len(held_out):
        l1, copy_l1, landmarks = measure(networks, held_out, train, settings.seed, device)
        results |= {"held_out_l1": l1, "copy_l1": copy_l1, "held_out_landmark_error": landmarks}
        log.info("held-out L1 %.4f, copying the source %.4f, landmarks %.4f", l1, copy_l1, landmarks or math.nan)
        random = torch.Generator().manual_seed(settings.seed)
        pairs = held_out.sample(_SHEET_ROWS, random, augment=False)
        write_png(out / "samples.png", sample_sheet(networks, pairs))
        write_png(out / "transfer.png", transfer_sheet(networks, settings))
    save(**results)
    for file in out.iterdir():
        if file.stat().st_size > _LARGEST_FILE:
            raise OSError(f"{file} has {file.stat().st_size:,} bytes, more than {_LARGEST_FILE:,}; use a smaller model")


def flops(networks: FirstOrderMotionModel, size: int) -> int:
    """Count the floating-point operations per frame, source encoding included."""
    image = torch.zeros(1, 3, size, size, device=next(networks.parameters()).device)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        keypoints = networks.kp_detector(image)
        networks.generator(image, keypoints, keypoints)
    return counter.get_total_flops()


@torch.inference_mode()
def transfer_sheet(networks: FirstOrderMotionModel, settings: SmallAnimator) -> np.ndarray:
    """Return two rows per action: moments of the driver, and below them the source and its animation."""
    bank, size = load_bank(), settings.animator.train.size
    device = next(networks.parameters()).device
    framing = Framing(size, size, eyes_y=0.44, head=0.75)
    rows = []
    for number, action in enumerate(settings.rendering.shown):
        source, driver = (
            Actor(
                bank,
                (number + turn) % settings.rendering.heads,
                seed_from("shown", settings.seed, number, turn) % 2**31,
            )
            for turn in (0, 1)
        )
        performance = perform(driver, action, seed_from("shown", action), _SHOWN_FRAMES, framing=framing)
        moments = np.linspace(0, _SHOWN_FRAMES - 1, _SHOWN_MOMENTS).round().astype(int)
        moments[_SHOWN_MOMENTS // 2] = performance.curve.argmax()  # a blink is short
        clip = performance.clip()[np.sort(moments)]
        still = source.render(framing=framing)
        driving, source_image = (
            torch.from_numpy(frames).to(device).permute(0, 3, 1, 2).float() / 255 for frames in (clip, still[None])
        )
        of_source, of_driver = networks.kp_detector(source_image), networks.kp_detector(driving)
        first = Keypoints(*(part[:1] for part in of_driver))
        scale = size_ratio(of_source.value[0], first.value[0])
        count = len(driving)
        moved = relative_motion(of_source, of_driver, first, scale)
        start = Keypoints(*(part.expand(count, *part.shape[1:]) for part in of_source))
        animated = networks.generator(source_image.expand(count, -1, -1, -1), start, moved)
        frames = (255 * animated.clamp(0, 1)).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        rows.append(np.concatenate([np.full_like(still, 255), *clip], axis=1))
        rows.append(np.concatenate([still, *frames], axis=1))
    return np.concatenate(rows)
