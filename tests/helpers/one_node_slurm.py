"""One-node SLURM on the loopback interface: the real daemons, with files, key and ports of their own.

Nothing of the machine's configuration is read or written, so that it runs beside a SLURM that is there already, and as
any user: jobs then belong to that user. ``.ci/install-slurm`` installs the daemons on Debian and Ubuntu.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
#: More than a small machine has, so that jobs of eight threads find a node. SLURM is told not to compare.
CPUS = 16
_MEMORY_MB = 64000
_START_S = 30.0
#: linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def missing_programs() -> str:
    """Return why no SLURM can be started here; an empty text where it can."""
    lacking = [name for name in PROGRAMS if not shutil.which(name, path=_PATH)]
    return f"not installed: {', '.join(lacking)} (.ci/install-slurm, as root on Debian or Ubuntu)" if lacking else ""


class NoSlurm(RuntimeError):
    """The daemons do not start on this machine."""


class OneNodeSlurm:
    """A controller, a node with one GPU that is none, and partitions cpu and gpu."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        """Write the configuration.

        Args:
            folder: an empty folder; its path is short, because it holds a socket.
            settings: further lines of slurm.conf.
        """
        self.folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {**os.environ, "PATH": f"{folder}/bin:{_PATH}", "SLURM_CONF": f"{folder}/slurm.conf"}
        for name in ("state", "node", "bin"):
            (folder / name).mkdir()
        # The plugin takes every SLURM_ variable from the steps of a job, the name of the configuration included.
        srun = folder / "bin/srun"
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun", path=_PATH)} "$@"\n')
        srun.chmod(0o755)
        folder.chmod(0o755)
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        self._write_configuration(settings or {})

    def __enter__(self) -> OneNodeSlurm:
        try:
            self.start("munged")
            self._wait_for("munge --socket {socket} --no-input --output /dev/null")
            self.start("slurmctld")
            self.start("slurmd")
            # The controller takes a node for idle before it has heard of it.
            self._wait_for("scontrol show node node0", "SlurmdStartTime=2")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str) -> None:
        """Start one of the daemons, in a session of its own."""
        munged = {"socket": "socket", "key-file": "munge.key", "pid-file": "munged.pid", "seed-file": "munge.seed"}
        command = {
            "munged": ["--foreground", "--force", *(f"--{key}={self.folder / file}" for key, file in munged.items())],
            "slurmctld": ["-D", "-i"],
            "slurmd": ["-D", "-N", "node0"],
        }[name]
        with (self.folder / f"{name}.out").open("ab") as output:
            self._processes[name] = subprocess.Popen(
                [shutil.which(name, path=_PATH) or name, *command], stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, env=self.environment, start_new_session=True, preexec_fn=_end_with_parent,
            )  # fmt: skip

    def kill(self, name: str) -> None:
        """End a daemon by SIGKILL, as a node or a controller that fails."""
        self._processes[name].kill()
        self._processes.pop(name).wait()

    def kill_node(self) -> None:
        """End the node's daemon and all of its jobs by SIGKILL, as a power cut would."""
        self.kill("slurmd")
        jobs = [process for process in psutil.process_iter() if self._is_of_a_job(process)]
        # A step has a daemon of its own, which outlives the node's.
        steps = [parent for process in jobs for parent in process.parents() if parent.name() == "slurmstepd"]
        for process in (*steps, *jobs):
            with contextlib.suppress(psutil.Error):
                process.kill()

    def running(self) -> list[str]:
        """Return the ids of running jobs."""
        return self.command("squeue", "--noheader", "--states", "running", "--format", "%A").split()

    def command(self, *words: str) -> str:
        """Return the output of a SLURM command."""
        done = subprocess.run(words, capture_output=True, text=True, env=self.environment, check=True, timeout=60)
        return done.stdout

    def submissions(self) -> Counter[str]:
        """Return partition → jobs that the controller has started there, by its log."""
        log = (self.folder / "slurmctld.log").read_text(errors="replace")
        # The second form is that of the backfill scheduler, which may be the first to see a job.
        started = re.findall(r"Allocate JobId=\d+ .*?Partition=(\w+)|Started JobId=\d+ in (\w+)", log)
        return Counter(one or other for one, other in started)

    def log(self) -> str:
        """Return the logs of controller and node."""
        return "".join((self.folder / f"{name}.log").read_text(errors="replace") for name in ("slurmctld", "slurmd"))

    def story(self) -> str:
        """Return the lines of the controller's log that say what became of its jobs."""
        log = (self.folder / "slurmctld.log").read_text(errors="replace").splitlines()
        return "\n".join(
            line
            for line in log
            if re.search(r"Allocate JobId|Started JobId|_job_complete.*(WEXIT|WTERM)|[Rr]equeue", line)
        )

    def stop(self) -> None:
        """End all jobs and daemons."""
        if "slurmctld" in self._processes:
            with contextlib.suppress(subprocess.SubprocessError):
                self.command("scancel", "--state", "pending")
            with contextlib.suppress(subprocess.SubprocessError):
                self.kill_node() if "slurmd" in self._processes else None
        for name in list(self._processes):
            self.kill(name)

    @property
    def _socket(self) -> str:
        return str(self.folder / "socket")

    def _is_of_a_job(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error):
            variables = process.environ()
            return "SLURM_JOB_ID" in variables and f"{self.folder}/bin:" in variables.get("PATH", "")
        return False

    def _wait_for(self, command: str, word: str = "") -> None:
        """Wait until a command succeeds and says a word."""
        words = command.format(socket=self._socket).split()
        deadline = time.monotonic() + _START_S
        while True:
            done = subprocess.run(words, capture_output=True, text=True, env=self.environment, check=False, timeout=60)
            ended = [name for name, process in self._processes.items() if process.poll() is not None]
            if done.returncode == 0 and word in done.stdout and not ended:
                return
            if ended or time.monotonic() > deadline:
                said = "".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.out")))
                errors = re.findall(r"(?:error|fatal): (.*)", said) or [done.stderr.strip()]
                raise NoSlurm(f"SLURM does not start ({', '.join(ended) or 'timeout'}): {'; '.join(errors[-3:])}")
            time.sleep(0.1)

    def _write_configuration(self, settings: Mapping[str, str]) -> None:
        import pwd

        controller, node = _free_ports(2)
        user = pwd.getpwuid(os.getuid()).pw_name
        host = socket.gethostname().split(".")[0]
        lines = {
            "ClusterName": "one",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmctldPort": str(controller),
            "SlurmUser": user,
            "SlurmdUser": user,
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={self._socket}",
            "StateSaveLocation": str(self.folder / "state"),
            "SlurmdSpoolDir": str(self.folder / "node"),
            "SlurmctldPidFile": str(self.folder / "slurmctld.pid"),
            "SlurmdPidFile": str(self.folder / "slurmd.pid"),
            "SlurmctldLogFile": str(self.folder / "slurmctld.log"),
            "SlurmdLogFile": str(self.folder / "slurmd.log"),
            # Neither systemd nor control groups, which containers lack.
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "JobAcctGatherType": "jobacct_gather/linux",
            "AccountingStorageType": "accounting_storage/none",
            "MpiDefault": "none",
            "SwitchType": "switch/none",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core_Memory",
            "SchedulerParameters": "batch_sched_delay=0,sched_interval=1,sched_min_interval=0",
            "ReturnToService": "2",
            "SlurmdParameters": "config_overrides",
            "MinJobAge": "300",
            "GresTypes": "gpu",
            **settings,
        }
        text = "".join(f"{name}={value}\n" for name, value in lines.items())
        text += (
            f"NodeName=node0 NodeHostname={host} NodeAddr=127.0.0.1 Port={node} CPUs={CPUS} RealMemory={_MEMORY_MB} "
            "Gres=gpu:1 State=UNKNOWN\n"
            "PartitionName=cpu Nodes=node0 Default=YES MaxTime=INFINITE State=UP\n"
            "PartitionName=gpu Nodes=node0 MaxTime=INFINITE State=UP\n"
        )
        (self.folder / "slurm.conf").write_text(text)
        # A device is asked for; no job opens it.
        (self.folder / "gres.conf").write_text("NodeName=node0 Name=gpu File=/dev/null\n")
        (self.folder / "cgroup.conf").write_text("IgnoreSystemd=yes\n")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _end_with_parent() -> None:
    """Have the kernel end this process when its parent ends, however that happens: a killed test leaves no daemon."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
