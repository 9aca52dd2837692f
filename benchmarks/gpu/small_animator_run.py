"""Training loop of ``train_small_animator.py``: receives looks, takes steps, saves states, resumes."""

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
from deepfakemnist.animate.training.loop import STATE
from deepfakemnist.animate.training.losses import Objective, StepLosses
from deepfakemnist.animate.training.state import TrainingState, training_facts
from deepfakemnist.animate.training.steps import train_step
from deepfakemnist.devices.torch_device import choose_device
from deepfakemnist.tables.files import atomic_path

log = logging.getLogger(__name__)

#: Time reserved for writing the results, seconds.
_RESERVE = 20.0
#: Maximum number of rollbacks to the last saved state after a non-finite loss, per call.
_MAX_ROLLBACKS = 3


@dataclass(frozen=True)
class Plan:
    """Outputs, time budget and workers of a call."""

    out: Path
    work: Path
    """Folder of the training state."""
    seconds: float
    """Total time budget over all calls."""
    started_at: float
    """Start of the program, by ``time.monotonic``."""
    workers: int
    save_every: float
    """Seconds between saved states."""
    log_every: int
    """Steps between log and record entries."""


def train_small_animator(settings: SmallAnimator, plan: Plan, device_name: str) -> bool:
    """Train and write the results; return False when stopped early, with only state and weights written."""
    record = Record(plan.out / "training.json", settings)
    rendering, train = settings.rendering, settings.animator.train
    looks = LookPlan(settings.seed, rendering.heads, rendering.pictures, rendering.size)
    first = rendering.held_out_looks + record.looks
    # First, because processes must be forked before CUDA is used.
    with RenderFarm(looks, plan.workers, rendering.held_out_looks, first) as farm:
        stop = Stop()
        device = choose_device(device_name)
        torch.backends.cudnn.benchmark = True
        state, facts = load_or_create_state(settings, device, plan.work)
        pool = LookPool(looks, rendering.looks_kept, train, device)
        held_out = LookPool(looks, rendering.held_out_looks, train, device)
        run = Run(settings, plan, state, facts, farm, pool, held_out, record)
        run.wait_for_looks(stop)
        done = run.train(stop)
    if not done:
        log.info("stopped at step %d; run the same command to resume", state.step)
        return False
    write_results(settings, state, held_out, plan.out, record.save, device)
    log.info("done after %.0f s", time.monotonic() - plan.started_at)
    return True


def load_or_create_state(
    settings: SmallAnimator, device: torch.device, work: Path
) -> tuple[TrainingState, dict[str, str]]:
    """Return the saved training state or a new one, and the facts that must match to resume."""
    model, train = settings.animator.model, settings.animator.train
    # On the device, where sampling the noise of a hundred images takes no time.
    random = torch.Generator(device).manual_seed(settings.seed)
    state = TrainingState.new(model, train, True, random, device)
    data = json.dumps([settings.schedule.model_dump(), settings.rendering.model_dump()])
    facts = training_facts(model, train, True, settings.seed, device.type, data)
    state.resume(work / STATE, facts)
    state.networks.train()
    return state, facts


class Stop:
    """Flag set by SIGTERM or SIGINT, for an orderly end."""

    def __init__(self) -> None:
        self.requested = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._request)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True


class Record:
    """JSON training record, kept across calls like the state.

    Args:
        path: of the file; loaded if it exists.
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
        """Number of looks rendered over all calls."""
        return sum(call.get("looks", 0) for call in self.content["calls"])

    def save(self, **results: Any) -> None:
        """Add results and write the file atomically."""
        self.content |= results
        with atomic_path(self.path) as part:
            part.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")


class Run:
    """Training loop of one call."""

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
        """Wait for the held-out looks and the first training looks."""
        rendering, started = self.settings.rendering, time.monotonic()
        while not stop.requested and (
            len(self.held_out) < rendering.held_out_looks or len(self.pool) < rendering.least_looks
        ):
            self._receive_looks(timeout=1.0)
        self.record.call["waited_s"] = round(time.monotonic() - started, 1)
        log.info("%d looks after %.1f s", self.pool.added, time.monotonic() - self.plan.started_at)

    def train(self, stop: Stop) -> bool:
        """Train until the time budget is used; return False when stopped early."""
        state, schedule, train = self.state, self.settings.schedule, self.settings.animator.train
        started, before, first = time.monotonic(), state.seconds, state.step
        # At least half of a very short budget, so that tests of a few seconds train too.
        planned = max(self.plan.seconds - (started - self.plan.started_at) - _RESERVE, self.plan.seconds / 2)
        # Starting from "both" loads the averaged detector also when a call starts in the generator phase.
        saved, phase, rollbacks = started, "both", 0
        log.info("training for %.0f s from step %d", planned - before, first)
        while (share := state.seconds / planned) < 1 and not stop.requested:
            self._receive_looks()
            last, phase = phase, schedule.phase(share)
            if phase != last:
                log.info("step %d: %s", state.step + 1, phase)
            if (last, phase) == ("both", "generator") and state.average is not None:
                # Freeze the averaged detector.
                state.networks.kp_detector.load_state_dict(state.average.kp_detector.state_dict())
            state.step += 1
            rate = train.learning_rate * min(1, state.step / schedule.warm_up_steps)
            rate *= (1 + math.cos(math.pi * share)) / 2
            pairs = self.pool.sample(train.batch_size, state.random)
            try:
                terms = train_step(state, self.objectives[phase], pairs, rate, train.ema)
                state.check_finite()
            except (FloatingPointError, torch.linalg.LinAlgError) as error:  # e.g. a singular jacobian
                rollbacks += 1
                if rollbacks > _MAX_ROLLBACKS or not state.resume(self.plan.work / STATE, self.facts):
                    raise
                log.warning("%s; rolled back to step %d", error, state.step)
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

    def _receive_looks(self, timeout: float = 0.0) -> None:
        for look in self.farm.finished(timeout):
            (self.held_out if look.number < self.settings.rendering.held_out_looks else self.pool).add(look)

    def _log(self, terms: dict[str, Tensor], rate: float, planned: float) -> None:
        state = self.state
        losses = StepLosses(state.step, **{name: term.item() for name, term in terms.items()})
        state.losses.append(losses)
        shown = ", ".join(f"{name} {value:.3f}" for name, value in asdict(losses).items() if name != "step" and value)
        log.info(
            "step %d, %.0f of %.0f s: loss %.3f (%s), %.2f steps/s, %d looks",
            state.step,
            state.seconds,
            planned,
            losses.total,
            shown,
            rate,
            self.pool.added,
        )

    def _save(self, seconds: float, first: int) -> None:
        state, images = self.state, self.pool.added * self.settings.rendering.pictures
        state.save(self.plan.work / STATE, self.facts)
        # If the machine goes away, this checkpoint is usable as it is.
        save_checkpoint(self.plan.out / CHECKPOINT, state.result, {"steps": state.step}, half=True)
        self.record.call |= {
            "steps": state.step - first,
            "seconds": round(seconds, 1),
            "steps_per_second": round((state.step - first) / max(seconds, 1e-9), 3),
            "looks": self.pool.added,
            "pictures": images,
            "pictures_per_second_and_worker": round(images / self.farm.seconds, 2) if images else 0.0,
            "workers": self.plan.workers,
        }
        if torch.cuda.is_available():
            self.record.call["memory_bytes"] = torch.cuda.max_memory_allocated()
        self.record.save(
            steps=state.step, seconds=round(state.seconds, 1), losses=[asdict(entry) for entry in state.losses]
        )
