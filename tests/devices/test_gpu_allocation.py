"""Processes race for cards that a fake nvidia-smi lists; the locks, kills and waits are real."""

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
from deepfakemnist.devices.gpu_allocation import Card, allocate_gpus, has_gpu, list_gpus, parse_gpus, usable_gpus
from deepfakemnist.errors import ConfigError
from deepfakemnist.workflow.script import gpus_per_job

ROOT = Path(__file__).parents[2]
FOUR = "".join(f"GPU {n}: NVIDIA H100 80GB HBM3 (UUID: GPU-{n}1111111-2222-3333-4444-555555555555)\n" for n in range(4))
UUIDS = [line.split("UUID: ")[1].rstrip(")") for line in FOUR.splitlines()]
#: An A100 with three instances, one without MIG, and an older driver's way to name an instance.
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
def alone(monkeypatch, tmp_path):
    """No card, scheduler or lock of this machine is seen; what is asked once per process is asked anew."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "locks").mkdir()
    monkeypatch.setenv(gpu_allocation.LOCKS_VARIABLE, str(tmp_path / "locks"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setattr(gpu_allocation, "_NVIDIA_SMI_OF_WSL", tmp_path / "nowhere")
    list_gpus.cache_clear()
    yield
    gpu_allocation._let_go()
    list_gpus.cache_clear()


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Make a machine whose nvidia-smi prints what it is given."""

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
    """Start a Python process that has taken cards or is about to; it prints what it is told to."""
    code = "import os, sys, time\nfrom deepfakemnist.devices.gpu_allocation import *\n" + textwrap.dedent(body)
    return subprocess.Popen(
        [sys.executable, "-u", "-c", code], env={**os.environ, **environment}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def visits(processes):
    """Return card → (begin, end) of every process that had it, from lines "begin end CUDA_VISIBLE_DEVICES"."""
    found = defaultdict(list)
    for process in processes:
        told, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        begin, end, names = told.split()
        for name in names.split(","):
            found[name].append((float(begin), float(end)))
    return found


def most_at_once(spans):
    """Return how many of the spans overlap at the busiest moment."""
    return max(sum(begin <= moment < end for begin, end in spans) for moment, _ in spans)


HOLD = """
gpu_allocation = sys.modules["deepfakemnist.devices.gpu_allocation"]
gpu_allocation._LOOK_AGAIN_S = 0.05
allocate_gpus({count}, {share})
begin = time.monotonic()
time.sleep({seconds})
print(begin, time.monotonic(), os.environ["CUDA_VISIBLE_DEVICES"])
"""


def test_real_listings_are_read():
    assert parse_gpus(FOUR) == tuple(Card("NVIDIA H100 80GB HBM3", uuid) for uuid in UUIDS)
    first, plain, old = parse_gpus(MIXED)
    assert [name[:12] for name in first.names] == ["MIG-c6d4f1ef", "MIG-cba663e8", "MIG-1e4f8a3b"]
    assert plain.names == ("GPU-e91edf3b-b297-37c1-a2a7-7601c3238fa2",)
    assert old.names == ("MIG-GPU-c0ffee00-b297-37c1-a2a7-7601c3238fa2/7/0",)
    assert parse_gpus(BROKEN) == parse_gpus("No devices were found\n") == ()


@pytest.mark.parametrize(
    ("named", "found"),
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
def test_what_cuda_visible_devices_names(named, found):
    assert usable_gpus(parse_gpus(FOUR), named) == found


def test_a_card_in_mig_mode_is_its_instances(monkeypatch):
    cards = parse_gpus(MIXED)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert usable_gpus(cards, "0") == usable_gpus(cards, "GPU-5d5") == list(cards[0].instances)
    assert usable_gpus(cards, "MIG-cba,1") == [cards[0].instances[1], cards[1].uuid]
    assert usable_gpus(cards, "MIG-GPU-c0ffee00-b297-37c1-a2a7-7601c3238fa2/7/0") == [cards[2].instances[0]]
    assert len(usable_gpus(cards, None)) == 5


def test_an_index_among_different_models_stays_what_cuda_takes_it_for():
    assert usable_gpus(parse_gpus(MIXED), "1") == ["1"]


@pytest.mark.parametrize("named", ["7", "0,4", "GPU-9", "GPU-", "MIG-0"])
def test_a_card_that_is_not_there_is_named(named):
    with pytest.raises(ConfigError, match=rf"names '{named[-5:].split(',')[-1]}', but nvidia-smi lists 0 = GPU-0111"):
        usable_gpus(parse_gpus(FOUR), named)


def test_without_nvidia_smi_names_are_taken_as_they_are():
    assert usable_gpus(None, "0,GPU-5") == ["0", "GPU-5"]
    assert usable_gpus(None, None) is None


def test_jobs_that_race_have_a_card_each(machine):
    machine(FOUR)
    found = visits([start(HOLD.format(count=1, share=1, seconds=0.6)) for _ in range(10)])
    assert set(found) <= set(UUIDS)
    assert sum(map(len, found.values())) == 10
    assert all(most_at_once(spans) == 1 for spans in found.values())
    assert len(found) > 1


def test_jobs_that_see_other_indices_of_the_same_cards_do_not_meet(machine):
    machine(FOUR)
    body = HOLD.format(count=1, share=1, seconds=0.5)
    found = visits([start(body, CUDA_VISIBLE_DEVICES=named) for named in ("2,3", "3,2", "3", "GPU-2", "2")])
    assert sorted(found) == UUIDS[2:]
    assert all(most_at_once(spans) == 1 for spans in found.values())


def test_several_cards_at_once_without_deadlock(machine):
    machine(FOUR)
    counts = [3, 2, 3, 1, 2, 4, 1]
    found = visits([start(HOLD.format(count=count, share=1, seconds=0.2)) for count in counts])
    assert sum(map(len, found.values())) == sum(counts)
    assert all(most_at_once(spans) == 1 for spans in found.values())


def test_two_jobs_share_a_card_where_the_config_says_so(machine):
    machine("".join(FOUR.splitlines(keepends=True)[:2]))
    found = visits([start(HOLD.format(count=1, share=2, seconds=2.0)) for _ in range(5)])
    assert sorted(map(len, found.values())) == [2, 3]
    assert all(most_at_once(spans) == 2 for spans in found.values())


def test_a_job_that_wants_a_card_alone_does_not_meet_those_that_share(machine):
    machine(FOUR.splitlines(keepends=True)[0])
    processes = [start(HOLD.format(count=1, share=share, seconds=0.3)) for share in (1, 2, 1, 2, 3)]
    alone, *_ = visits([processes[0]])[UUIDS[0]], None
    others = visits(processes[1:])[UUIDS[0]]
    assert most_at_once(alone + others) <= 3
    assert not any(begin < alone[0][1] and alone[0][0] < end for begin, end in others)


def test_a_free_card_comes_before_a_shared_one(machine):
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


def test_kill_9_frees_the_card_in_spite_of_children_that_live_on(machine):
    machine(FOUR.splitlines(keepends=True)[0])
    holder = start(WITH_CHILDREN)
    assert holder.stdout.readline().strip() == UUIDS[0]
    child = int(holder.stdout.readline().split()[1])
    waiting = start("print(*allocate_gpus(1))")
    assert "waiting for 1 of the GPUs GPU-01111111" in waiting.stderr.readline()
    assert waiting.poll() is None
    try:
        holder.kill()
        told, _ = waiting.communicate(timeout=20)
        assert told.strip() == UUIDS[0]
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


MEMBER = """
import os, sys, time
from deepfakemnist.training.launch import launch_distributed

def work(device):
    # In one piece: members share the pipe, and print may write word by word.
    os.write(1, f"{os.getpid()} {os.environ['CUDA_VISIBLE_DEVICES']}\\n".encode())
    # As a process that is inside a CUDA call, it does not notice that its parent has gone.
    import signal
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(1)

if __name__ == "__main__":
    from deepfakemnist.devices.gpu_allocation import allocate_gpus
    allocate_gpus(2)
    launch_distributed(work, 2, device="cpu")
"""


def test_a_team_keeps_its_cards_when_only_the_process_that_started_it_is_killed(machine, tmp_path):
    machine("".join(FOUR.splitlines(keepends=True)[:2]))
    (tmp_path / "member.py").write_text(MEMBER)
    leader = subprocess.Popen([sys.executable, tmp_path / "member.py"], stdout=subprocess.PIPE, text=True)
    members = []
    try:
        for _ in range(2):
            number, names = leader.stdout.readline().split()
            members.append(int(number))
            assert names == ",".join(UUIDS[:2])
        time.sleep(0.5)  # a member holds the locks from when it was started, its signals are set a moment later
        leader.kill()
        leader.wait()
        time.sleep(0.5)
        for number in members:
            os.kill(number, 0)
        assert gpu_allocation._take(UUIDS[:2], 1, 1) == []
    finally:
        for number in members:
            os.kill(number, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while not gpu_allocation._take(UUIDS[:2], 2, 1):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_one_allocation_of_slurm_is_shared_out_and_another_is_not_waited_for(machine, monkeypatch, tmp_path):
    machine(FOUR.splitlines(keepends=True)[0])
    given = {"CUDA_VISIBLE_DEVICES": "0"}
    holder = start("print(*allocate_gpus(1))\ntime.sleep(60)", SLURM_JOB_ID="17", **given)
    assert holder.stdout.readline().strip() == UUIDS[0]
    same = start("print(*allocate_gpus(1))", SLURM_JOB_ID="17", **given)
    assert "waiting for 1 of the GPUs" in same.stderr.readline()
    other = start("print(*allocate_gpus(1))", SLURM_JOB_ID="18", **given)
    assert other.communicate(timeout=20)[0].strip() == UUIDS[0]
    holder.kill()
    assert same.communicate(timeout=20)[0].strip() == UUIDS[0]
    assert not list((tmp_path / "locks").glob("*slurm18*")), "locks of finished allocations would pile up"


def test_more_cards_than_there_are(machine, monkeypatch):
    machine(FOUR)
    with pytest.raises(
        ConfigError, match=r"wants 5 GPUs, but this machine shows 4 \(GPU-0.*not set\)\. Lower training"
    ):
        allocate_gpus(5)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ConfigError, match=r"wants 1 GPUs, but this machine shows 0 \(none; CUDA_VISIBLE_DEVICES is \)"):
        allocate_gpus(1, device="cuda")
    assert allocate_gpus(1, device="auto") == []


def test_mig_instances_are_taken_one_at_a_time(machine):
    machine("".join(MIXED.splitlines(keepends=True)[:4]))
    assert allocate_gpus(1)[0].startswith("MIG-c6d4f1ef")
    with pytest.raises(ConfigError, match="of MIG instances a process can use one only"):
        os.environ.pop("CUDA_VISIBLE_DEVICES")
        allocate_gpus(2)


def test_without_nvidia_smi_a_line_says_what_to_do(monkeypatch, caplog):
    monkeypatch.setenv("PATH", "/nowhere")
    with caplog.at_level(logging.WARNING):
        assert allocate_gpus(1) == []
    assert "Set CUDA_VISIBLE_DEVICES to the GPUs of this machine" in caplog.text
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert allocate_gpus(1) == ["0"]


def test_locks_can_be_shared_by_all_users_whatever_the_umask(machine, tmp_path):
    machine(FOUR)
    umask = os.umask(0o077)
    try:
        allocate_gpus(1)
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(umask)
    (lock,) = (tmp_path / "locks").iterdir()
    assert stat.S_IMODE(lock.stat().st_mode) == 0o444


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be two users")
def test_another_user_waits_for_the_card_and_cannot_delete_its_lock(machine, monkeypatch):
    machine("".join(FOUR.splitlines(keepends=True)[:2]))
    locks = Path(tempfile.mkdtemp(dir="/tmp"))  # pytest's own folder is closed to others
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


def test_a_lock_that_cannot_be_opened_is_named(machine, monkeypatch, tmp_path):
    machine(FOUR)
    monkeypatch.setenv(gpu_allocation.LOCKS_VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match=r"gone/deepfakemnist-gpu-GPU-0.*Set DEEPFAKEMNIST_GPU_LOCKS to a folder"):
        allocate_gpus(1)
    trap = tmp_path / "locks" / f"deepfakemnist-gpu-{UUIDS[0]}.lock"
    trap.symlink_to(tmp_path / "elsewhere")
    monkeypatch.setenv(gpu_allocation.LOCKS_VARIABLE, str(tmp_path / "locks"))
    with pytest.raises(ConfigError, match="the lock of a GPU cannot be used"):
        allocate_gpus(1)
    assert not (tmp_path / "elsewhere").exists()


def test_auto_finds_a_gpu_by_nvidia_smi_and_the_wsl_place(machine, monkeypatch, tmp_path):
    """WSL 2 has no /proc/driver/nvidia and no /dev/nvidia0, and its nvidia-smi need not be on PATH."""
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


def test_a_driver_that_does_not_answer_costs_its_patience_once(machine, monkeypatch, caplog):
    machine(FOUR, extra="exec sleep 60")
    monkeypatch.setattr(gpu_allocation, "_PATIENCE_S", 0.3)
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
    """CUDA reads CUDA_VISIBLE_DEVICES when it starts; cards are taken after the imports."""
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
    told, errors = start(body, SCRIPTS=":".join(map(str, scripts))).communicate(timeout=120)
    assert told.split() == ["imported", "False"], errors


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
def test_jobs_of_a_workflow_have_a_card_each(machine, tmp_path, device):
    """--resources gpu=8 on two cards: jobs wait and say so."""
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
    assert all(most_at_once(spans) == 1 for spans in found.values())
    assert "waiting for 1 of the GPUs" in logs
