"""Looks of synthetic actors, rendered in worker processes and handed over in shared memory.

A look is a person, a room and a light, with many pictures that differ in pose and expression only: any two of them are
a pair to train on. Workers are forked, because shared anonymous memory needs no place in /dev/shm and a forked worker
no second import; so a farm must be started before anything uses CUDA. Each worker has its own two places in memory and
its own pipe, so that nothing is locked and the death of one stops no other.
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

#: Share of pictures that are a moment of one of the ten actions; the others are poses and expressions at random.
_OF_ACTIONS = 0.5
#: Frames of an action from which the moment is taken.
_ACTION_FRAMES = 48
#: Place of the eyes and height of the head as shares of the picture, before it is cropped to 0.8 to 1 of its side: as
#: in the workflow's crops then, see ``deepfakemnist.actors.cast``.
_EYES_X, _EYES_Y, _HEAD = (0.46, 0.54), (0.42, 0.48), (0.56, 0.76)
_PLACES = 2
_NICE = 5  # the trainer's own thread goes first


@dataclass(frozen=True)
class LookPlan:
    """What is rendered."""

    seed: int
    heads: int
    """Heads 0 to ``heads`` - 1 of the bank are used."""
    pictures: int
    """Of each look."""
    size: int
    """Side of the pictures, pixels; larger than those trained on, which are cropped from them."""


@dataclass(frozen=True)
class Look:
    """One look in shared memory; valid until the next one is asked for."""

    number: int
    pictures: NDArray[np.uint8]
    """(F, S, S, 4): RGB, and the share of each pixel that the actor covers, 255 all of it."""
    room: NDArray[np.uint8]
    """(S, S, 3): the same without the actor."""
    points: NDArray[np.float32]
    """(F, P, 2): pixels of ``facial_points.FACIAL_POINTS``."""


def render_look(plan: LookPlan, number: int, into: Look, bank: Bank) -> None:
    """Render a look; the number decides who it is and what is done. A number gives the same look every time."""
    random = np.random.default_rng(seed_from("look to train on", plan.seed, number))
    actor = Actor(bank, int(random.integers(plan.heads)), int(random.integers(2**31)))
    places = (float(random.uniform(*limits)) for limits in (_EYES_X, _EYES_Y, _HEAD))
    framing = Framing(plan.size, plan.size, *places)
    into.room[:] = actor.empty_room(framing)
    for i in range(plan.pictures):
        expression = action_moment(random) if random.random() < _OF_ACTIONS else random_expression(random)
        picture, share = actor.render_cutout(*expression, framing, noise=i)
        into.pictures[i, ..., :3], into.pictures[i, ..., 3] = picture, share
        into.points[i] = rendered_points(actor, *expression, framing)


def action_moment(random: np.random.Generator) -> Expression:
    """Return a moment of one of the ten actions; half of the time that at which it is strongest."""
    motion = make_motion(ACTIONS[random.integers(len(ACTIONS))], int(random.integers(2**31)), _ACTION_FRAMES)
    moment = int(motion.curve.argmax() if random.random() < 0.5 else random.integers(_ACTION_FRAMES))
    yaw, pitch, roll, x, y = (float(value) for value in motion.pose[moment])
    weights = {name: float(weight[moment]) for name, weight in motion.weights.items() if weight[moment]}
    aside, up = (float(value) for value in motion.gaze[moment])
    return Pose(yaw, pitch, roll, x, y), weights, (aside, up)


class RenderFarm:
    """Worker processes that render looks; used as a context, which ends them.

    Args:
        plan: what is rendered.
        workers: processes.
        held_out: looks 0 to ``held_out`` - 1 come first.
        first: number of the first look after those, so that a training that goes on gets other ones.
    """

    def __init__(self, plan: LookPlan, workers: int, held_out: int, first: int) -> None:
        context = multiprocessing.get_context("fork")
        self.plan = plan
        self.seconds = 0.0
        """Of rendering, over all workers, in the looks that were handed over."""
        self._pipes: dict[Connection, list[Look]] = {}
        self._processes = []
        bank = load_bank()
        for worker in range(workers):
            places = [_place_for_a_look(plan) for _ in range(_PLACES)]
            ours, theirs = context.Pipe()
            numbers = _numbers(worker, workers, held_out, max(first, held_out))
            process = context.Process(
                target=_work,
                args=(plan, bank, numbers, places, theirs, os.getpid()),
                name=f"render-{worker}",
                daemon=True,
            )
            process.start()
            theirs.close()
            self._pipes[ours] = places
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
        """Yield what has been rendered since the last call; waits up to ``timeout`` seconds if that is nothing.

        Raises: RuntimeError when no worker is left; what ended them is in their output.
        """
        if not self._pipes:
            raise RuntimeError("every process that renders actors has ended; its error is printed above")
        for pipe in wait(list(self._pipes), timeout):
            assert isinstance(pipe, Connection)
            try:
                place, number, seconds = pipe.recv()
            except (EOFError, ConnectionError):
                log.warning("a process that renders actors has ended; %d are left", len(self._pipes) - 1)
                del self._pipes[pipe]
                continue
            self.seconds += seconds
            held = self._pipes[pipe][place]
            yield Look(number, held.pictures, held.room, held.points)
            try:
                pipe.send(place)
            except ConnectionError:  # noticed at the next call
                continue


def _numbers(worker: int, workers: int, held_out: int, first: int) -> Iterator[int]:
    yield from range(worker, held_out, workers)
    number = first + worker
    while True:
        yield number
        number += workers


def _place_for_a_look(plan: LookPlan) -> Look:
    shapes = ((plan.pictures, plan.size, plan.size, 4), (plan.size, plan.size, 3))
    pictures, room = (np.frombuffer(mmap.mmap(-1, int(np.prod(shape))), np.uint8).reshape(shape) for shape in shapes)
    shape = (plan.pictures, len(FACIAL_POINTS), 2)
    points = np.frombuffer(mmap.mmap(-1, 4 * int(np.prod(shape))), np.float32).reshape(shape)
    return Look(-1, pictures, room, points)


def _work(
    plan: LookPlan, bank: Bank, numbers: Iterator[int], places: list[Look], pipe: Connection, parent: int
) -> None:
    """Render one look after the other, until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers itself
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.nice(_NICE)
    cv2.setNumThreads(0)
    free = deque(range(len(places)))
    for number in numbers:
        while not free:
            if pipe.poll(1.0):
                free.append(pipe.recv())
            elif os.getppid() != parent:
                return
        place, started = free.popleft(), time.monotonic()
        render_look(plan, number, places[place], bank)
        pipe.send((place, number, time.monotonic() - started))
