"""Session-wide fixtures: the head bank and two actors."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import pytest

from deepfakemnist.actors import Actor, Bank, load_bank

cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def bank() -> Bank:
    return load_bank()


@pytest.fixture(scope="session")
def man(bank: Bank) -> Actor:
    return next(actor for actor in _actors(bank, "male") if actor.look.glasses == "none" and actor.look.beard == "none")


@pytest.fixture(scope="session")
def woman(bank: Bank) -> Actor:
    return next(actor for actor in _actors(bank, "female") if actor.look.glasses == "none")


def _actors(bank, sex):
    return (Actor(bank, index, seed=1) for index, person in enumerate(bank.people) if person.sex == sex)
