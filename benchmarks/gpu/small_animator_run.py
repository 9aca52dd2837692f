"""The training loop of ``train_small_animator.py``: looks come in, steps are taken, states are saved."""

from __future__ import annotations

import json
import logging
import math
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from look_pool import LookPool
from render_farm import LookPlan, RenderFarm
from small_animator_results import CHECKPOINT, write_results
from small_animator_settings import SmallAnimator
from torch import Tensor

from deepfakemnist.animate.fomm.checkpoint import save_checkpoint
from deepfakemnist.animate.training.loop import STATE, train_step
from deepfakemnist.animate.training.losses import Objective, StepLosses
from deepfakemnist.animate.training.state import TrainingState, training_facts
from deepfakemnist.devices.torch_device import choose_device
from deepfakemnist.tables.files import atomic_path

log = logging.getLogger(__name__)

#: Kept of the minutes for the last files, seconds.
_RESERVE = 20.0
#: How often a call goes back to its last state because the loss was no longer finite.
_MOST_RETURNS = 3


@dataclass(frozen=True)
class Plan:
    """What a call is to do."""

    out: Path
    work: Path
    """Folder of the state."""
    seconds: float
    """For everything, over all calls."""
    began: float
    """When the program did, by ``time.monotonic``."""
    workers: int
    save_every: float
    """Seconds between states."""
    log_every: int
    """Steps between entries of log and record."""


def train_small_animator(settings: SmallAnimator, plan: Plan, device_name: str) -> bool:
    """Train and write the files; return False when told to stop before, with nothing but state and weights written."""
    record = Record(plan.out / "training.json", settings)
    rendering, train = settings.rendering, settings.animator.train
    looks = LookPlan(settings.seed, rendering.heads, rendering.pictures, rendering.size)
    first = rendering.held_out_looks + record.looks
    # First of all, because processes must be forked before CUDA is used.
    with RenderFarm(looks, plan.workers, rendering.held_out_looks, first) as farm:
        stop = Stop()
        device = choose_device(device_name)
        torch.backends.cudnn.benchmark = True
        state, facts = new_state(settings, device, plan.work)
        pool = LookPool(looks, rendering.looks_kept, train, device)
        held_out = LookPool(looks, rendering.held_out_looks, train, device)
        run = Run(settings, plan, state, facts, farm, pool, held_out, record)
        run.wait_for_looks(stop)
        done = run.train(stop)
    if not done:
        log.info("told to stop at step %d: the same command goes on", state.step)
        return False
    write_results(settings, state, held_out, plan.out, record.save, device)
    log.info("done after %.0f s", time.monotonic() - plan.began)
    return True


def new_state(settings: SmallAnimator, device: torch.device, work: Path) -> tuple[TrainingState, dict[str, str]]:
    """Return the state to go on from, or a new one, and the facts by which it is recognised."""
    model, train = settings.animator.model, settings.animator.train
    # On the device, where the noise of a hundred pictures takes no time.
    random = torch.Generator(device).manual_seed(settings.seed)
    state = TrainingState.new(model, train, True, random, device)
    data = json.dumps([settings.schedule.model_dump(), settings.rendering.model_dump()])
    facts = training_facts(model, train, True, settings.seed, device.type, data)
    state.resume(work / STATE, facts)
    state.networks.train()
    return state, facts


class Stop:
    """Whether the program was told to end; it then ends in order."""

    def __init__(self) -> None:
        self.told = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._tell)

    def _tell(self, number: int, frame: FrameType | None) -> None:
        self.told = True


class Record:
    """The JSON record; it outlives calls, as the state does.

    Args:
        path: file; read where it is there.
        settings: of this call.
    """

    def __init__(self, path: Path, settings: SmallAnimator) -> None:
        self.path = path
        self.content: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"calls": []}
        self.content["settings"] = settings.model_dump(mode="json")
        self.call: dict[str, Any] = {}
        self.content["calls"].append(self.call)

    @property
    def looks(self) -> int:
        """Looks rendered in all calls."""
        return sum(call.get("looks", 0) for call in self.content["calls"])

    def save(self, **found: Any) -> None:
        """Keep some facts, and write the file, whole or not at all."""
        self.content |= found
        with atomic_path(self.path) as part:
            part.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")


class Run:
    """One call's training: looks come in, steps are taken, states are saved."""

    def __init__(
        self,
        settings: SmallAnimator,
        plan: Plan,
        state: TrainingState,
        facts: dict[str, str],
        farm: RenderFarm,
        pool: LookPool,
        held_out: LookPool,
        record: Record,
    ) -> None:
        self.settings, self.plan, self.state, self.facts = settings, plan, state, facts
        self.farm, self.pool, self.held_out, self.record = farm, pool, held_out, record
        train = settings.animator.train
        phases = {
            "detector": {"landmark_steps": sys.maxsize},
            "both": {"landmark_steps": 0},
            "generator": {"landmark_steps": 0, "train_keypoints": False},
        }
        device = next(state.networks.parameters()).device
        self.objectives = {name: Objective(train.model_copy(update=update), device) for name, update in phases.items()}
        self.objectives["both"].check_autocast(state.networks)
        self.objectives["generator"].autocast = self.objectives["both"].autocast
        state.networks.train()

    def wait_for_looks(self, stop: Stop) -> None:
        """Wait for the held-out looks and the first ones to train on."""
        rendering, started = self.settings.rendering, time.monotonic()
        while not stop.told and (
            len(self.held_out) < rendering.held_out_looks or len(self.pool) < rendering.least_looks
        ):
            self._take_looks(timeout=1.0)
        self.record.call["waited_s"] = round(time.monotonic() - started, 1)
        log.info("%d looks after %.1f s", self.pool.added, time.monotonic() - self.plan.began)

    def train(self, stop: Stop) -> bool:
        """Train until the minutes are over; return False when told to stop before."""
        state, schedule, train = self.state, self.settings.schedule, self.settings.animator.train
        started, before, first = time.monotonic(), state.seconds, state.step
        # At least half of a very short time, so that tests of seconds train too.
        planned = max(self.plan.seconds - (started - self.plan.began) - _RESERVE, self.plan.seconds / 2)
        # Whoever begins with the generator alone takes the averaged detector, too.
        saved, phase, returns = started, "both", 0
        log.info("training for %.0f s from step %d", planned - before, first)
        while (share := state.seconds / planned) < 1 and not stop.told:
            self._take_looks()
            last, phase = phase, schedule.phase(share)
            if phase != last:
                log.info("step %d: %s", state.step + 1, phase)
            if (last, phase) == ("both", "generator") and state.average is not None:
                # The detector that stays is the averaged one.
                state.networks.kp_detector.load_state_dict(state.average.kp_detector.state_dict())
            state.step += 1
            rate = train.learning_rate * min(1, state.step / schedule.warm_up_steps)
            rate *= (1 + math.cos(math.pi * share)) / 2
            pairs = self.pool.draw(train.batch_size, state.random)
            try:
                terms = train_step(state, self.objectives[phase], pairs, rate, train.ema)
            except (FloatingPointError, torch.linalg.LinAlgError) as error:  # jacobians are inverted
                returns += 1
                if returns > _MOST_RETURNS or not state.resume(self.plan.work / STATE, self.facts):
                    raise
                log.warning("%s: back to step %d", error, state.step)
                terms, phase = {}, "both"
            now = time.monotonic()
            state.seconds = before + now - started
            if terms and (state.step % self.plan.log_every == 0 or state.step == 1):
                self._log(terms, (state.step - first) / (now - started), planned)
            if now - saved > self.plan.save_every:
                self._save(now - started, first)
                saved = time.monotonic()
        self._save(time.monotonic() - started, first)
        return state.seconds >= planned

    def _take_looks(self, timeout: float = 0.0) -> None:
        for look in self.farm.finished(timeout):
            (self.held_out if look.number < self.settings.rendering.held_out_looks else self.pool).add(look)

    def _log(self, terms: dict[str, Tensor], rate: float, planned: float) -> None:
        state = self.state
        losses = StepLosses(state.step, **{name: term.item() for name, term in terms.items()})
        state.losses.append(losses)
        shown = ", ".join(f"{name} {value:.3f}" for name, value in asdict(losses).items() if name != "step" and value)
        log.info(
            "step %d, %.0f of %.0f s: loss %.3f (%s), %.2f steps/s, %d looks",
            *(state.step, state.seconds, planned, losses.total, shown, rate, self.pool.added),
        )

    def _save(self, seconds: float, first: int) -> None:
        state, pictures = self.state, self.pool.added * self.settings.rendering.pictures
        state.save(self.plan.work / STATE, self.facts)
        # What an ended machine leaves behind is of use as it is.
        save_checkpoint(self.plan.out / CHECKPOINT, state.result, {"steps": state.step}, half=True)
        self.record.call |= {
            "steps": state.step - first,
            "seconds": round(seconds, 1),
            "steps_per_second": round((state.step - first) / max(seconds, 1e-9), 3),
            "looks": self.pool.added,
            "pictures": pictures,
            "pictures_per_second_and_worker": round(pictures / self.farm.seconds, 2) if pictures else 0.0,
            "workers": self.plan.workers,
        }
        if torch.cuda.is_available():
            self.record.call["memory_bytes"] = torch.cuda.max_memory_allocated()
        self.record.save(steps=state.step, seconds=round(state.seconds, 1), losses=[asdict(at) for at in state.losses])
