"""CPU benchmark of LivePortrait: time of a frame, and what the exact rewrites save of it.

    python benchmarks/liveportrait.py         the official size; prints the result, writes benchmarks/liveportrait.json

Reference: the networks as the original program runs them on a CPU, batch norm beside its convolution, and maps of the
generator enlarged before they are convolved. Measured: the networks as the animator runs them. A frame is warped and
generated; source and driver, which are encoded once, are left out. One process and thread, float32; both run
alternately, and ratios are taken per round. Weights are random: speed is that of the official ones.
"""

from __future__ import annotations

import copy
import json
import resource
import statistics
from pathlib import Path
from unittest.mock import patch

import torch
import torch.nn.functional as F
from animate import cpu_name
from cpu_time import cpu_seconds
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from deepfakemnist.animate.liveportrait import generator
from deepfakemnist.animate.liveportrait.blocks import fold_norms
from deepfakemnist.animate.liveportrait.generator import SpadeGenerator
from deepfakemnist.animate.liveportrait.warping import WarpingNetwork

REPEATS = 3


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warping = WarpingNetwork(21, 32, 16, 4, [64, 128, 256, 512, 1024], [512, 256, 128, 64, 32], 256).eval()
    painting = SpadeGenerator(256, 512, 6, (256, 64), 128, 2).eval()
    folded = copy.deepcopy(warping)
    fold_norms(folded)
    volume, still = torch.randn(1, 32, 16, 64, 64), 0.3 * torch.randn(1, 21, 3)

    def reference() -> Tensor:
        with torch.inference_mode(), patch.object(generator, "repeated_conv", enlarged_conv):
            picture: Tensor = painting(warping(volume, still, still + 0.05))
        return picture

    def measured() -> Tensor:
        with torch.inference_mode():
            picture: Tensor = painting(folded(volume, still, still + 0.05))
        return picture

    distance = float((reference() - measured()).abs().max())  # also warms up
    flops = {}
    for name, work in (("reference", reference), ("measured", measured)):
        with FlopCounterMode(display=False) as counter:
            work()
        flops[name] = round(counter.get_total_flops() / 1e9)
    rounds = [(cpu_seconds(reference), cpu_seconds(measured)) for _ in range(REPEATS)]
    result = {
        "what": "CPU seconds of a frame of LivePortrait at the official size, one thread, float32",
        "torch": torch.__version__,
        "cpu": cpu_name(),
        "reference_s": round(statistics.median(first for first, _ in rounds), 1),
        "measured_s": round(statistics.median(second for _, second in rounds), 1),
        "measured_of_reference": round(statistics.median(second / first for first, second in rounds), 3),
        "gflop": flops,
        "largest_difference": distance,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    text = json.dumps(result, indent=2)
    print(text)
    Path(__file__).with_suffix(".json").write_text(text + "\n")


def enlarged_conv(maps: Tensor, weight: Tensor, bias: Tensor, times: int) -> Tensor:
    """Return the convolution of a map enlarged by repetition, as the original computes it."""
    return F.conv2d(F.interpolate(maps, scale_factor=times, mode="nearest"), weight, bias, padding=1)


if __name__ == "__main__":
    main()
