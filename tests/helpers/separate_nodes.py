"""Nodes that share no folder: every job runs in a fresh copy of the sources, which is deleted when it ends.

What a job needs besides must come from the bucket of the run, here a simulated S3 on loopback.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer
from tiny_project import ROOT

BUCKET, PREFIX = "dfmnist", "runs/one"
#: What a container image or a checkout holds; no videos, no results.
SOURCES = ("Snakefile", "workflow", "src", "config", "envs", "small.yaml", "sources.tsv", "drivers.tsv")
_KEYS = {"SNAKEMAKE_STORAGE_S3_ACCESS_KEY": "key", "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "secret"}
_SUBMIT = """#!/bin/sh
# Called as: submit JOBSCRIPT, in the folder of the run.
node=$(mktemp -d {nodes}/node.XXXXXX)
cp -r {sources} *.pth "$node"
cp "$1" "$node/job.sh"
(
    cd "$node" && PYTHONPATH="$node/src" sh job.sh >"$node.log" 2>&1
    echo $? >"$node.code"
    rm -rf "$node"
) >/dev/null 2>&1 &
echo "$node"
"""
_STATUS = """#!/bin/sh
if [ ! -e "$1.code" ]; then echo running; elif [ "$(cat "$1.code")" = 0 ]; then echo success; else echo failed; fi
"""


@contextmanager
def simulated_s3() -> Iterator[str]:
    """Serve an S3 with an empty bucket on loopback, and yield its address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        client(address).create_bucket(Bucket=BUCKET)
        yield address
    finally:
        server.stop()


def client(address: str):
    return boto3.client(
        "s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret"
    )


def copy_sources(folder: Path) -> None:
    """Put the workflow into the folder of a run, as where users work in their checkout."""
    for name in ("Snakefile", "workflow", "src", "config", "envs"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored, dirs_exist_ok=True)
        else:
            shutil.copy(ROOT / name, folder / name)


class SeparateNodes:
    """Runs of a project on nodes that see neither its folder nor each other's."""

    def __init__(self, folder: Path, nodes: Path, address: str) -> None:
        self.folder, self.nodes, self.address = folder, nodes, address
        nodes.mkdir()
        for name, text in (("submit", _SUBMIT.format(nodes=nodes, sources=" ".join(SOURCES))), ("status", _STATUS)):
            (nodes / name).write_text(text)
            (nodes / name).chmod(0o755)

    def run(self, *targets: str, expect: int = 0, options: tuple[str, ...] = ()) -> str:
        """Run Snakemake in the project's folder, its jobs on nodes, and return the output."""
        done = subprocess.run(
            [
                sys.executable, "-m", "snakemake", "--executor", "cluster-generic", "--jobs", "2",
                "--cluster-generic-submit-cmd", str(self.nodes / "submit"),
                "--cluster-generic-status-cmd", str(self.nodes / "status"),
                "--seconds-between-status-checks", "1", "--shared-fs-usage", "none",
                "--default-storage-provider", "s3", "--default-storage-prefix", f"s3://{BUCKET}/{PREFIX}",
                "--storage-s3-endpoint-url", self.address, *options, "--configfile", "small.yaml", "--", *targets,
            ],
            cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900, check=False,
            env={
                **os.environ, **_KEYS, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(self.folder / "src"),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            },
        )  # fmt: skip
        logs = "\n".join(path.read_text()[-3000:] for path in sorted(self.nodes.glob("*.log"))[-3:])
        assert done.returncode == expect, f"{done.stdout[-6000:]}\n{logs}"
        return done.stdout

    def stored(self) -> set[str]:
        """Return the names of the files in the run's bucket."""
        pages = client(self.address).get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=PREFIX)
        return {one["Key"].removeprefix(f"{PREFIX}/") for page in pages for one in page.get("Contents", ())}

    def download(self, folder: Path) -> None:
        """Copy the results from the bucket into a folder."""
        for key in self.stored():
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            client(self.address).download_file(BUCKET, f"{PREFIX}/{key}", str(path))
