"""Project whose jobs run on a SLURM cluster without internet, through the profile that users copy, in two rounds."""

from __future__ import annotations

import sys
from pathlib import Path

from mesh_project import MeshProject
from tiny_project import ROOT
from weights_hub import NETWORK

from deepfakemnist.liveness.simulator.witness import Observation

#: Candidates of the first round, all refused, so that a second one is drawn.
QUOTA = 2
TARGETS = ("results/manifest/videos.parquet", "results/detectors/small/c23/seed0/checkpoint.safetensors")
#: Run by every Python of a job before anything else: what a node without internet answers, loopback included.
NO_INTERNET = """
import errno, os, socket

def refuse(self, address):
    if self.family != socket.AF_UNIX:
        raise OSError(errno.ENETUNREACH, f"this node has no internet: {address}")
    return connect(self, address)

if "SLURM_JOB_ID" in os.environ:
    connect = socket.socket.connect
    socket.socket.connect = socket.socket.connect_ex = refuse
    os.environ["HF_HOME"] = os.environ["TORCH_HOME"] = "/nowhere"
"""


class FirstRefused:
    """Classifies the first distinct uploads as attacks, all others as live; a repeated upload gets the same verdict."""

    def __init__(self) -> None:
        self.refused: set[bytes] = set()

    def video(self, data: bytes, motions: list[str]) -> Observation:
        if len(self.refused) < QUOTA:
            self.refused.add(data)
        live = data not in self.refused
        return Observation(readable=True, seconds=1.0, face=True, live=live, motions=dict.fromkeys(motions, 2.0 * live))


class SlurmProject(MeshProject):
    """Project with rounds, a simulated vendor and a detector that starts from downloaded weights.

    The jobs of SLURM reach no network; ``local`` runs everything without SLURM.
    """

    local = False
    patience_s = 900
    #: Options of Snakemake beside the profile: seconds between questions after jobs, 40 by default; rate of attempts.
    options: tuple[str, ...] = (
        "--slurm-init-seconds-before-status-checks", "2", "--max-status-checks-per-second", "10",
        "--latency-wait", "10",
    )  # fmt: skip

    @classmethod
    def of_vendor(cls, folder: Path, address: str, **sections: object) -> SlurmProject:
        """Write the project.

        Args:
            folder: folder for it.
            address: base URL of the simulated vendor.
            sections: sections of the config that replace those here.
        """
        upload = {"min_side": 32, "min_seconds": 0.2}
        vendor = {"provider": "tianyan", "base_url": address, "qps": 100, "upload": upload}
        plan = {"actions": ["yaw"], "quota": QUOTA, "max_rounds": 3, "expected_pass_rate": 1.0}
        # Few people, all of whom the detector learns from.
        plan |= {"val_fraction": 0.0, "test_fraction": 0.0}
        detector = {"name": NETWORK, "label": "small", "weights": "imagenet", "image_size": 64, "epochs": 1}
        training = {"detectors": [{**detector, "batch_size": 8}], "trained_on": ["c23"]}
        liveness = {"providers": [vendor], "calls_from": "login"}
        project = cls.make(folder, **{"plan": plan, "liveness": liveness, "training": training, **sections})
        (folder / "node").mkdir()
        (folder / "node/sitecustomize.py").write_text(NO_INTERNET)
        project.python_path = f"{folder}/node:{cls.python_path}"
        return project

    @property
    def snakemake(self) -> list[str]:
        if self.local:
            return super().snakemake
        where = ("--snakefile", str(ROOT / "Snakefile"), "--directory", str(self.folder))
        profile = ("--workflow-profile", str(ROOT / "profiles/slurm"))
        return [sys.executable, "-m", "snakemake", *where, *profile, *self.options, "--configfile", "small.yaml"]
