"""Training step: losses, gradients averaged over ranks, optimisers, and the random numbers of a step."""

from __future__ import annotations

import torch
from torch import Tensor

from deepfakemnist.animate.fomm.network import FirstOrderMotionModel
from deepfakemnist.animate.training.losses import Objective, discriminator_objective
from deepfakemnist.animate.training.pair_batches import Pairs
from deepfakemnist.animate.training.state import TrainingState
from deepfakemnist.devices.distributed import Distributed
from deepfakemnist.ids import seed_from

_MAX_GRADIENT_NORM = 5.0
_ALONE = Distributed()


def train_step(
    state: TrainingState,
    objective: Objective,
    pairs: Pairs,
    rate: float,
    ema: float,
    distributed: Distributed = _ALONE,
) -> dict[str, Tensor]:
    """Update the networks, their moving average and the discriminator, if any, once; return the loss terms.

    Args:
        state: updated in place, except for its step, which is the number of this step.
        objective: the loss.
        pairs: on the device of the networks.
        rate: learning rate.
        ema: decay of the moving average of the weights.
        distributed: ranks that gradients are averaged over.

    Raises: FloatingPointError on the CPU when the loss is not finite; the weights are unchanged then. On a GPU, where
        looking at the loss would make the CPU wait, ``TrainingState.check_finite`` raises it.
    """
    animated = objective(state.networks, state.discriminator, pairs, state.random, state.step)
    terms = dict(animated.terms)
    _gradient_step(state, state.optimiser, torch.stack(list(terms.values())).sum(), rate, distributed)
    state.update_average(ema)
    prediction = animated.prediction
    if state.discriminator is not None and state.discriminator_optimiser is not None and prediction is not None:
        terms["discriminator"] = discriminator_objective(state.discriminator, pairs, prediction, animated.driving)
        _gradient_step(state, state.discriminator_optimiser, terms["discriminator"], rate, distributed)
    return {name: term.detach() for name, term in terms.items()}


def _gradient_step(
    state: TrainingState, optimiser: torch.optim.Optimizer, loss: Tensor, rate: float, distributed: Distributed
) -> None:
    state.note_finite(loss)
    if loss.device.type == "cpu":  # checked at every step: grid_sample's backward crashes on NaN coordinates
        state.check_finite()
    for group in optimiser.param_groups:
        group["lr"] = rate
    # Also clears the discriminator's gradients from the generator's loss.
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    distributed.average_gradients(parameters)
    torch.nn.utils.clip_grad_norm_(parameters, _MAX_GRADIENT_NORM)
    optimiser.step()


def step_random(seed: int, use: str, step: int, rank: int = 0) -> torch.Generator:
    """Return the random number generator of one step of one rank."""
    return torch.Generator().manual_seed(seed_from(seed, "train animator", use, step, rank))


def compile_networks(networks: FirstOrderMotionModel, objective: Objective) -> None:
    """Compile what a training step runs, in place; names of weights stay the same."""
    networks.kp_detector.compile()
    objective.perceptual.compile()
    for name in ("encode", "motion", "decode"):
        setattr(networks.generator, name, torch.compile(getattr(networks.generator, name)))
