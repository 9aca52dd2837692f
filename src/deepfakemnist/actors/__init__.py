"""Synthetic actors: a bank of 3D head meshes, a software renderer, and performances of every action.

With them the whole workflow runs without images of real people. The heads are sampled from the parametric body
model Anny (NAVER; its mesh, shapes and facial actions are CC0) and baked once into ``resources/actors/bank.npz``;
rendering needs only numpy and OpenCV, and numba for speed.

Head coordinates, in metres: origin between the eyes, x to the subject's left (image right), y backwards into the
head, z up.
"""

from deepfakemnist.actors.actor import Actor
from deepfakemnist.actors.bank import Bank, load_bank
from deepfakemnist.actors.perform import TALK, Performance, perform
from deepfakemnist.actors.pose import Framing, Landmarks, Pose

__all__ = ["TALK", "Actor", "Bank", "Framing", "Landmarks", "Performance", "Pose", "load_bank", "perform"]
