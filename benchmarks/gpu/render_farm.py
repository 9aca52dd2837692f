"""Render farm for synthetic actors: worker processes that pass looks through shared memory.

A look is a person, a room and a light, with many images that differ only in pose and expression: any two of them are a
training pair. Workers are forked, because anonymous shared memory needs no /dev/shm and a forked worker imports nothing
again; so the farm must start before CUDA is used. Each worker has two memory slots and a pipe of its own, so there are
no locks, and the death of one worker does not stop the others.
"""

from __future__ import annotations

import logging
import mmap
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfakemnist.actors import Actor, Bank, Framing, Pose, load_bank
from deepfakemnist.actors.expressions import Expression, random_expression
from deepfakemnist.actors.motion import make_motion
from deepfakemnist.actors.rendered_points import rendered_points
from deepfakemnist.config.base import ACTIONS
from deepfakemnist.faces.facial_points import FACIAL_POINTS
from deepfakemnist.ids import seed_from

log = logging.getLogger(__name__)

#: Share of images that show a moment of one of the ten actions; the others show random poses and expressions.
_ACTION_SHARE = 0.5
#: Frames of the action from which the moment is taken.
_ACTION_FRAMES = 48
#: Ranges of eye position and head height, as shares of the image before it is cropped to 0.8 to 1 of its side. After
#: that they match the workflow's crops, see ``deepfakemnist.actors.cast``.
_EYES_X, _EYES_Y, _HEAD = (0.46, 0.54), (0.42, 0.48), (0.56, 0.76)
_SLOTS = 2
_NICE = 5  # gives way to the training process


@dataclass(frozen=True)
class LookPlan:
    """Settings of the rendered looks."""

    seed: int
    heads: int
    """Heads 0 to ``heads`` - 1 of the bank are used."""
    pictures: int
    """Images per look."""
    size: int
    """Side of the images, pixels; larger than the training crops."""


@dataclass(frozen=True)
class Look:
    """One look in shared memory; valid until the next one is requested."""

    number: int
    rgba: NDArray[np.uint8]
    """(F, S, S, 4): RGB and alpha matte, 255 where the actor is opaque."""
    room: NDArray[np.uint8]
    """(S, S, 3): the background without the actor."""
    points: NDArray[np.float32]
    """(F, P, 2): pixel positions of ``facial_points.FACIAL_POINTS``."""


def render_look(plan: LookPlan, number: int, into: Look, bank: Bank) -> None:
    """Render a look; its number determines person and motion, so it is reproducible."""
    random = np.random.default_rng(seed_from("look to train on", plan.seed, number))
    actor = Actor(bank, int(random.integers(plan.heads)), int(random.integers(2**31)))
    position = (float(random.uniform(*limits)) for limits in (_EYES_X, _EYES_Y, _HEAD))
    framing = Framing(plan.size, plan.size, *position)
    into.room[:] = actor.empty_room(framing)
    for i in range(plan.pictures):
        expression = action_moment(random) if random.random() < _ACTION_SHARE else random_expression(random)
        into.rgba[i, ..., :3], into.rgba[i, ..., 3] = actor.render_cutout(*expression, framing, noise=i)
        into.points[i] = rendered_points(actor, *expression, framing)


def action_moment(random: np.random.Generator) -> Expression:
    """Return a moment of one of the ten actions, in half of the cases its peak."""
    motion = make_motion(ACTIONS[random.integers(len(ACTIONS))], int(random.integers(2**31)), _ACTION_FRAMES)
    moment = int(motion.curve.argmax() if random.random() < 0.5 else random.integers(_ACTION_FRAMES))
    yaw, pitch, roll, x, y = (float(value) for value in motion.pose[moment])
    weights = {name: float(weight[moment]) for name, weight in motion.weights.items() if weight[moment]}
    aside, up = (float(value) for value in motion.gaze[moment])
    return Pose(yaw, pitch, roll, x, y), weights, (aside, up)


class RenderFarm:
    """Worker processes that render looks; a context manager that terminates them.

    Args:
        plan: settings of the looks.
        workers: number of processes.
        held_out: looks 0 to ``held_out`` - 1 are rendered first.
        first: number of the first look after those, so that a resumed training gets new ones.
    """

    def __init__(self, plan: LookPlan, workers: int, held_out: int, first: int) -> None:
        context = multiprocessing.get_context("fork")
        self.plan = plan
        self.seconds = 0.0
        """Rendering time of the looks received so far, summed over all workers."""
        self._pipes: dict[Connection, list[Look]] = {}
        self._processes = []
        bank = load_bank()
        for worker in range(workers):
            slots = [_shared_look(plan) for _ in range(_SLOTS)]
            ours, theirs = context.Pipe()
            numbers = _numbers(worker, workers, held_out, max(first, held_out))
            process = context.Process(
                target=_render_worker,
                args=(plan, bank, numbers, slots, theirs, os.getpid()),
                name=f"render-{worker}",
                daemon=True,
            )
            process.start()
            theirs.close()
            self._pipes[ours] = slots
            self._processes.append(process)

    def __enter__(self) -> RenderFarm:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()

    def finished(self, timeout: float = 0.0) -> Iterator[Look]:
        """Yield the looks rendered since the last call; if there are none, wait up to ``timeout`` seconds.

        Raises: RuntimeError when all workers have ended; their output has the errors.
        """
        if not self._pipes:
            raise RuntimeError("all rendering processes have ended; their errors are printed above")
        for pipe in wait(list(self._pipes), timeout):
            assert isinstance(pipe, Connection)
            try:
                slot, number, seconds = pipe.recv()
            except (EOFError, ConnectionError):
                log.warning("a rendering process has ended; %d remain", len(self._pipes) - 1)
                del self._pipes[pipe]
                continue
            self.seconds += seconds
            rendered = self._pipes[pipe][slot]
            yield Look(number, rendered.rgba, rendered.room, rendered.points)
            try:
                pipe.send(slot)
            except ConnectionError:  # handled by the next call
                continue


def _numbers(worker: int, workers: int, held_out: int, first: int) -> Iterator[int]:
    yield from range(worker, held_out, workers)
    number = first + worker
    while True:
        yield number
        number += workers


def _shared_look(plan: LookPlan) -> Look:
    shapes = ((plan.pictures, plan.size, plan.size, 4), (plan.size, plan.size, 3))
    rgba, room = (np.frombuffer(mmap.mmap(-1, int(np.prod(shape))), np.uint8).reshape(shape) for shape in shapes)
    shape = (plan.pictures, len(FACIAL_POINTS), 2)
    points = np.frombuffer(mmap.mmap(-1, 4 * int(np.prod(shape))), np.float32).reshape(shape)
    return Look(-1, rgba, room, points)


def _render_worker(
    plan: LookPlan, bank: Bank, numbers: Iterator[int], slots: list[Look], pipe: Connection, parent: int
) -> None:
    """Render looks until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent terminates its workers itself
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.nice(_NICE)
    cv2.setNumThreads(0)
    free = deque(range(len(slots)))
    for number in numbers:
        while not free:
            if pipe.poll(1.0):
                free.append(pipe.recv())
            elif os.getppid() != parent:
                return
        slot, started = free.popleft(), time.monotonic()
        render_look(plan, number, slots[slot], bank)
        pipe.send((slot, number, time.monotonic() - started))
