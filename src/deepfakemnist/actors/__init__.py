"""Synthetic people: a bank of heads that belong to nobody, a renderer, and performances of every action.

With them the whole workflow runs without the picture of any real person. The heads come from the parametric body
model Anny (NAVER; its mesh, shapes and facial actions are CC0) and are baked once into ``resources/actors/bank.npz``;
rendering needs numpy and OpenCV only, and numba for speed.

Coordinates of the head, in metres: origin between the eyes, x to the subject's own left (right in the picture),
y backwards into the head, z up.
"""

from deepfakemnist.actors.actor import Actor
from deepfakemnist.actors.bank import Bank, load_bank
from deepfakemnist.actors.perform import TALK, Performance, perform
from deepfakemnist.actors.pose import Framing, Landmarks, Pose

__all__ = ["TALK", "Actor", "Bank", "Framing", "Landmarks", "Performance", "Pose", "load_bank", "perform"]
