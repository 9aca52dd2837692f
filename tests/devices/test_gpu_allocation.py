"""GPU allocation among racing processes: nvidia-smi is fake; locks, kills and waits are real."""

import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import defaultdict
from pathlib import Path

import pytest

from deepfakemnist.devices import gpu_allocation
from deepfakemnist.devices.gpu_allocation import Gpu, allocate_gpus, has_gpu, list_gpus, parse_gpus, usable_gpus
from deepfakemnist.errors import ConfigError
from deepfakemnist.workflow.gpu_requests import gpus_per_job

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FOUR = "".join(f"GPU {n}: NVIDIA H100 80GB HBM3 (UUID: GPU-{n}1111111-2222-3333-4444-555555555555)\n" for n in range(4))
UUIDS = [line.split("UUID: ")[1].rstrip(")") for line in FOUR.splitlines()]
#: An A100 with three MIG instances, one without MIG, and an instance name of an older driver.
MIXED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 1c.3g.20gb  Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
  MIG 2c.3g.20gb  Device  2: (UUID: MIG-1e4f8a3b-0d0c-5d3a-8f3e-6c6a1f5d8e21)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-e91edf3b-b297-37c1-a2a7-7601c3238fa2)
GPU 2: A100-PCIE-40GB (UUID: GPU-c0ffee00-b297-37c1-a2a7-7601c3238fa2)
  MIG 1g.5gb Device 0: (UUID: MIG-GPU-c0ffee00-b297-37c1-a2a7-7601c3238fa2/7/0)
"""
BROKEN = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA "
    "driver is installed and running.\n"
)


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    """Hide GPUs, scheduler and locks of this machine; clear per-process caches."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "locks").mkdir()
    monkeypatch.setenv(gpu_allocation.LOCKS_VARIABLE, str(tmp_path / "locks"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setattr(gpu_allocation, "_NVIDIA_SMI_OF_WSL", tmp_path / "nowhere")
    list_gpus.cache_clear()
    yield
    gpu_allocation._release_in_child()
    list_gpus.cache_clear()


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Return a factory of fake machines, whose nvidia-smi prints a given listing."""

    def make(listing, status=0, folder=tmp_path / "bin", extra=""):
        folder.mkdir(exist_ok=True)
        (folder / "listing").write_text(listing)
        program = folder / "nvidia-smi"
        program.write_text(f'#!/bin/sh\n[ "$*" = -L ] || exit 2\n{extra}\ncat "{folder}/listing"\nexit {status}\n')
        program.chmod(0o755)
        if folder.name == "bin":
            monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        list_gpus.cache_clear()
        return program

    return make


def start(body, **environment):
    """Start a Python process that runs ``body`` with gpu_allocation imported."""
    code = "import os, sys, time\nfrom deepfakemnist.devices.gpu_allocation import *\n" + textwrap.dedent(body)
    return subprocess.Popen(
        [sys.executable, "-u", "-c", code], env={**os.environ, **environment}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def usage(processes):
    """Return GPU → (begin, end) of every process that used it, from lines "begin end CUDA_VISIBLE_DEVICES"."""
    found = defaultdict(list)
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        begin, end, names = output.split()
        for name in names.split(","):
            found[name].append((float(begin), float(end)))
    return found


def max_concurrency(spans):
    """Return the maximum number of overlapping spans."""
    return max(sum(begin <= moment < end for begin, end in spans) for moment, _ in spans)


HOLD = """
gpu_allocation = sys.modules["deepfakemnist.devices.gpu_allocation"]
gpu_allocation._POLL_S = 0.05
allocate_gpus({count}, {share})
begin = time.monotonic()
time.sleep({seconds})
print(begin, time.monotonic(), os.environ["CUDA_VISIBLE_DEVICES"])
"""


def test_real_listings_are_parsed():
    assert parse_gpus(FOUR) == tuple(Gpu("NVIDIA H100 80GB HBM3", uuid) for uuid in UUIDS)
    first, plain, old = parse_gpus(MIXED)
    assert [name[:12] for name in first.names] == ["MIG-c6d4f1ef", "MIG-cba663e8", "MIG-1e4f8a3b"]
    assert plain.names == ("GPU-e91edf3b-b297-37c1-a2a7-7601c3238fa2",)
    assert old.names == ("MIG-GPU-c0ffee00-b297-37c1-a2a7-7601c3238fa2/7/0",)
    assert parse_gpus(BROKEN) == parse_gpus("No devices were found\n") == ()


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        (None, UUIDS),
        ("2,0", [UUIDS[2], UUIDS[0]]),
        (" 1 , 1", [UUIDS[1]]),
        ("GPU-3,0", [UUIDS[3], UUIDS[0]]),
        ("0,-1,1", [UUIDS[0]]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
    ],
)
def test_cuda_visible_devices_is_resolved_to_uuids(visible, found):
    assert usable_gpus(parse_gpus(FOUR), visible) == found


def test_a_gpu_in_mig_mode_is_replaced_by_its_instances(monkeypatch):
    gpus = parse_gpus(MIXED)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert usable_gpus(gpus, "0") == usable_gpus(gpus, "GPU-5d5") == list(gpus[0].instances)
    assert usable_gpus(gpus, "MIG-cba,1") == [gpus[0].instances[1], gpus[1].uuid]
    assert usable_gpus(gpus, "MIG-GPU-c0ffee00-b297-37c1-a2a7-7601c3238fa2/7/0") == [gpus[2].instances[0]]
    assert len(usable_gpus(gpus, None)) == 5


def test_an_index_among_different_models_is_left_for_cuda_to_resolve():
    assert usable_gpus(parse_gpus(MIXED), "1") == ["1"]


@pytest.mark.parametrize("visible", ["7", "0,4", "GPU-9", "GPU-", "MIG-0"])
def test_the_error_names_a_gpu_that_does_not_exist(visible):
    with pytest.raises(ConfigError, match=rf"names '{visible[-5:].split(',')[-1]}', but nvidia-smi lists 0 = GPU-0111"):
        usable_gpus(parse_gpus(FOUR), visible)


def test_without_nvidia_smi_entries_are_used_unchanged():
    assert usable_gpus(None, "0,GPU-5") == ["0", "GPU-5"]
    assert usable_gpus(None, None) is None


def test_racing_jobs_get_a_gpu_each(machine):
    machine(FOUR)
    found = usage([start(HOLD.format(count=1, share=1, seconds=0.6)) for _ in range(10)])
    assert set(found) <= set(UUIDS)
    assert sum(map(len, found.values())) == 10
    assert all(max_concurrency(spans) == 1 for spans in found.values())
    assert len(found) > 1


def test_jobs_that_index_the_same_gpus_differently_do_not_share_one(machine):
    machine(FOUR)
    body = HOLD.format(count=1, share=1, seconds=0.5)
    found = usage([start(body, CUDA_VISIBLE_DEVICES=visible) for visible in ("2,3", "3,2", "3", "GPU-2", "2")])
    assert sorted(found) == UUIDS[2:]
    assert all(max_concurrency(spans) == 1 for spans in found.values())


def test_several_gpus_are_allocated_without_deadlock(machine):
    machine(FOUR)
    counts = [3, 2, 3, 1, 2, 4, 1]
    found = usage([start(HOLD.format(count=count, share=1, seconds=0.2)) for count in counts])
    assert sum(map(len, found.values())) == sum(counts)
    assert all(max_concurrency(spans) == 1 for spans in found.values())


def test_two_jobs_share_a_gpu_where_the_config_allows_it(machine):
    machine("".join(FOUR.splitlines(keepends=True)[:2]))
    found = usage([start(HOLD.format(count=1, share=2, seconds=2.0)) for _ in range(5)])
    assert sorted(map(len, found.values())) == [2, 3]
    assert all(max_concurrency(spans) == 2 for spans in found.values())


def test_an_exclusive_job_never_overlaps_with_sharing_ones(machine):
    machine(FOUR.splitlines(keepends=True)[0])
    processes = [start(HOLD.format(count=1, share=share, seconds=0.3)) for share in (1, 2, 1, 2, 3)]
    exclusive, *_ = usage([processes[0]])[UUIDS[0]], None
    others = usage(processes[1:])[UUIDS[0]]
    assert max_concurrency(exclusive + others) <= 3
    assert not any(begin < exclusive[0][1] and exclusive[0][0] < end for begin, end in others)


def test_a_free_gpu_is_preferred_to_a_shared_one(machine):
    machine(FOUR)
    holder = start("print(*allocate_gpus(1, 2))\ntime.sleep(60)")
    first = holder.stdout.readline().strip()
    try:
        assert first == UUIDS[0]
        assert allocate_gpus(2, 2) == UUIDS[1:3]
    finally:
        holder.kill()


WITH_CHILDREN = """
print(*allocate_gpus(1), flush=True)
import subprocess
subprocess.Popen(["sleep", "60"])
if os.fork() == 0:
    print("forked", os.getpid(), flush=True)
time.sleep(60)
"""


def test_kill_9_frees_the_gpu_even_if_children_survive(machine):
    machine(FOUR.splitlines(keepends=True)[0])
    holder = start(WITH_CHILDREN)
    assert holder.stdout.readline().strip() == UUIDS[0]
    child = int(holder.stdout.readline().split()[1])
    waiting = start("print(*allocate_gpus(1))")
    assert "waiting for 1 of the GPUs GPU-01111111" in waiting.stderr.readline()
    assert waiting.poll() is None
    try:
        holder.kill()
        output, _ = waiting.communicate(timeout=20)
        assert output.strip() == UUIDS[0]
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


#: Imported by the ranks, which do not run the launcher's script.
RANK = """
import os, signal, time

def work(device):
    # A single write, because the ranks share the pipe and print may write in parts.
    os.write(1, f"{os.getpid()} {os.environ['CUDA_VISIBLE_DEVICES']}\\n".encode())
    # Like a process inside a CUDA call, it does not notice that its parent is gone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(1)
"""
LAUNCHER = """
from rank import work
from deepfakemnist.devices.gpu_allocation import allocate_gpus
from deepfakemnist.devices.launch import launch_distributed

allocate_gpus(2)
launch_distributed(work, 2, device="cpu")
"""


def test_a_process_group_keeps_its_gpus_when_only_its_launcher_is_killed(machine, tmp_path):
    machine("".join(FOUR.splitlines(keepends=True)[:2]))
    (tmp_path / "rank.py").write_text(RANK)
    (tmp_path / "launcher.py").write_text(LAUNCHER)
    launcher = subprocess.Popen([sys.executable, tmp_path / "launcher.py"], stdout=subprocess.PIPE, text=True)
    ranks = []
    try:
        for _ in range(2):
            pid, names = launcher.stdout.readline().split()
            ranks.append(int(pid))
            assert names == ",".join(UUIDS[:2])
        time.sleep(0.5)  # a rank holds the locks from its start, its signal handlers are set a moment later
        launcher.kill()
        launcher.wait()
        time.sleep(0.5)
        for pid in ranks:
            os.kill(pid, 0)
        assert gpu_allocation._try_to_lock(UUIDS[:2], 1, 1) == []
    finally:
        for pid in ranks:
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while not gpu_allocation._try_to_lock(UUIDS[:2], 2, 1):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_jobs_of_one_slurm_allocation_compete_and_those_of_another_do_not(machine, monkeypatch, tmp_path):
    machine(FOUR.splitlines(keepends=True)[0])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    holder = start("print(*allocate_gpus(1))\ntime.sleep(60)", SLURM_JOB_ID="17")
    assert holder.stdout.readline().strip() == UUIDS[0]
    same = start("print(*allocate_gpus(1))", SLURM_JOB_ID="17")
    assert "waiting for 1 of the GPUs" in same.stderr.readline()
    other = start("print(*allocate_gpus(1))", SLURM_JOB_ID="18")
    assert other.communicate(timeout=20)[0].strip() == UUIDS[0]
    holder.kill()
    assert same.communicate(timeout=20)[0].strip() == UUIDS[0]
    assert not list((tmp_path / "locks").glob("*slurm18*")), "locks of finished allocations would pile up"


def test_more_gpus_than_the_machine_has_are_an_error(machine, monkeypatch):
    machine(FOUR)
    with pytest.raises(ConfigError, match=r"needs 5 GPUs, but 4 are visible \(GPU-0.*not set\)\. Lower training"):
        allocate_gpus(5)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ConfigError, match=r"needs 1 GPUs, but 0 are visible \(none; CUDA_VISIBLE_DEVICES is \)"):
        allocate_gpus(1, device="cuda")
    assert allocate_gpus(1, device="auto") == []


def test_a_process_gets_only_one_mig_instance(machine):
    machine("".join(MIXED.splitlines(keepends=True)[:4]))
    assert allocate_gpus(1)[0].startswith("MIG-c6d4f1ef")
    with pytest.raises(ConfigError, match="a process can use only one MIG instance"):
        os.environ.pop("CUDA_VISIBLE_DEVICES")
        allocate_gpus(2)


def test_without_nvidia_smi_the_log_says_what_to_do(monkeypatch, caplog):
    monkeypatch.setenv("PATH", "/nowhere")
    with caplog.at_level(logging.WARNING):
        assert allocate_gpus(1) == []
    assert "Set CUDA_VISIBLE_DEVICES to the GPUs of this machine" in caplog.text
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert allocate_gpus(1) == ["0"]


def test_locks_are_readable_by_all_users_whatever_the_umask(machine, tmp_path):
    machine(FOUR)
    umask = os.umask(0o077)
    try:
        allocate_gpus(1)
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(umask)
    (lock,) = (tmp_path / "locks").iterdir()
    assert stat.S_IMODE(lock.stat().st_mode) == 0o444


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to act as two users")
def test_another_user_waits_for_the_gpu_and_cannot_delete_its_lock(machine, monkeypatch):
    machine("".join(FOUR.splitlines(keepends=True)[:2]))
    locks = Path(tempfile.mkdtemp(dir="/tmp"))  # other users have no access to pytest's folder
    locks.chmod(0o1777)
    monkeypatch.setenv(gpu_allocation.LOCKS_VARIABLE, str(locks))
    assert allocate_gpus(1) == UUIDS[:1]
    code = (
        "import fcntl, os\n"
        f"for lock in sorted(os.listdir({str(locks)!r})):\n"
        f"    path = os.path.join({str(locks)!r}, lock)\n"
        "    try: fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB); print('locked')\n"
        "    except BlockingIOError: print('held')\n"
        "    try: os.unlink(path); print('deleted')\n"
        "    except PermissionError: print('refused')\n"
    )
    done = subprocess.run(["python3", "-c", code], user=65534, capture_output=True, text=True, check=True)
    shutil.rmtree(locks)
    assert done.stdout.split() == ["held", "refused"]


def test_the_error_names_a_lock_that_cannot_be_opened(machine, monkeypatch, tmp_path):
    machine(FOUR)
    monkeypatch.setenv(gpu_allocation.LOCKS_VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match=r"gone/deepfakemnist-gpu-GPU-0.*Set DEEPFAKEMNIST_GPU_LOCKS to a folder"):
        allocate_gpus(1)
    trap = tmp_path / "locks" / f"deepfakemnist-gpu-{UUIDS[0]}.lock"
    trap.symlink_to(tmp_path / "elsewhere")
    monkeypatch.setenv(gpu_allocation.LOCKS_VARIABLE, str(tmp_path / "locks"))
    with pytest.raises(ConfigError, match="a GPU lock file cannot be used"):
        allocate_gpus(1)
    assert not (tmp_path / "elsewhere").exists()


def test_auto_finds_a_gpu_by_nvidia_smi_on_path_or_under_wsl(machine, monkeypatch, tmp_path):
    """WSL 2 has no /proc/driver/nvidia and no /dev/nvidia0, and its nvidia-smi may not be on PATH."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    here = any(Path("/dev").glob("nvidia[0-9]*"))
    assert gpus_per_job("auto") == int(here)
    (tmp_path / "wsl").mkdir()
    monkeypatch.setattr(gpu_allocation, "_NVIDIA_SMI_OF_WSL", machine(FOUR, folder=tmp_path / "wsl"))
    assert gpus_per_job("auto") == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert (gpus_per_job("auto"), gpus_per_job("cuda"), gpus_per_job("cpu")) == (0, 1, 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    machine(BROKEN, status=9)
    assert gpus_per_job("auto") == 0


def test_an_unresponsive_driver_costs_one_timeout(machine, monkeypatch, caplog):
    machine(FOUR, extra="exec sleep 60")
    monkeypatch.setattr(gpu_allocation, "_NVIDIA_SMI_TIMEOUT_S", 0.3)
    started = time.monotonic()
    assert has_gpu() == has_gpu() == any(Path("/dev").glob("nvidia[0-9]*"))
    assert time.monotonic() - started < 5
    assert caplog.text.count("GPUs cannot be listed") == 1


def test_parsing_the_workflow_imports_no_torch_and_costs_nothing_without_a_gpu():
    body = """
    import deepfakemnist.workflow.script
    begin = time.process_time()
    has_gpu()
    print("torch" in sys.modules, time.process_time() - begin)
    """
    torch, seconds = start(body, PATH="/usr/bin:/bin").communicate(timeout=60)[0].split()
    assert torch == "False"
    assert float(seconds) < 0.05  # measured 0.0005


def test_nothing_that_scripts_import_starts_cuda():
    """CUDA reads CUDA_VISIBLE_DEVICES when it initialises; GPUs are allocated after the imports."""
    users = ("device_of(snakemake)", "config.device")
    scripts = [path for path in (ROOT / "workflow/scripts").glob("*.py") if any(u in path.read_text() for u in users)]
    assert {"animate", "extract_motion", "predict", "train", "train_animator"} <= {path.stem for path in scripts}
    body = """
    import ast, torch
    def refuse(): raise SystemExit("CUDA was asked")
    torch._C._cuda_getDeviceCount = torch._C._cuda_init = refuse
    for path in os.environ["SCRIPTS"].split(":"):
        tree = ast.parse(open(path).read())
        tree.body = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        exec(compile(tree, path, "exec"))
    print("imported", torch.cuda.is_initialized())
    """
    output, errors = start(body, SCRIPTS=":".join(map(str, scripts))).communicate(timeout=120)
    assert output.split() == ["imported", "False"], errors


SNAKEFILE = """
rule all:
    input: expand("{job}.txt", job=range(5))

rule work:
    output: "{job}.txt"
    log: "{job}.log"
    resources: gpu=1
    script: "work.py"
"""
SCRIPT = """
import os, time
from pathlib import Path
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    begin = time.monotonic()
    time.sleep(0.5)
    Path(snakemake.output[0]).write_text(f"{begin} {time.monotonic()} {os.environ.get('CUDA_VISIBLE_DEVICES')}")
"""


@pytest.mark.workflow
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_jobs_of_a_workflow_get_a_gpu_each(machine, tmp_path, device):
    """--resources gpu=8 on two GPUs: jobs wait and log it."""
    machine("".join(FOUR.splitlines(keepends=True)[:2]))
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "work.py").write_text(SCRIPT)
    command = ("--cores", "8", "--resources", "gpu=8", "--config", f"device={device}")
    subprocess.run(
        [sys.executable, "-m", "snakemake", *command], cwd=tmp_path, check=True, capture_output=True, timeout=120
    )
    found = defaultdict(list)
    for path in tmp_path.glob("?.txt"):
        begin, end, name = path.read_text().split()
        found[name].append((float(begin), float(end)))
    logs = "".join(path.read_text() for path in tmp_path.glob("?.log"))
    if device == "cpu":
        assert set(found) == {"None"} and "GPU" not in logs
        return
    assert sorted(found) == UUIDS[:2]
    assert all(max_concurrency(spans) == 1 for spans in found.values())
    assert "waiting for 1 of the GPUs" in logs
