"""Several users in one folder: who writes later needs no permission that who wrote first has to give by hand."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from filelock import Timeout

from deepfakemnist.tables.locks import locked

ROOT = Path(__file__).parents[2]
#: Users of one group, as on a cluster: any two numbers do.
USERS, GROUP = (64001, 64002), 64000
#: Works once in another folder before it becomes a user, so that everything is imported: Python may lie in a home
#: folder that others may not read.
JOB = """
import os
import sys
import tempfile
from pathlib import Path
from deepfakemnist.liveness.ledger import Ledger
from deepfakemnist.tables.files import atomic_path
from deepfakemnist.tables.schemas import INGESTED
from deepfakemnist.tables.shards import run_shard

user, group, clips = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]

def work(row):
    path = Path("results/ingest/source/one", row["video_id"])
    with atomic_path(path) as part:
        part.write_text("whole")
    return {"path": str(path)}

def job():
    rows, asked = [{"video_id": clip} for clip in clips], []
    done = run_shard(rows, "results/ingest/source/one.parquet", INGESTED, work, code="1")
    answers = Ledger(Path("results/answers"), "tianyan")
    for clip in clips:
        answers.get_or_request(clip, {}, lambda question: asked.append(question.leaves(0.1)) or {"live": True}, print)
    return done.resumed, len(asked)

here = os.getcwd()
with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    job()
    os.chdir(here)
os.setgroups([])
os.setgid(group)
os.setuid(user)
os.umask(0o002)
print(*job())
"""


def run(user, folder, *words):
    """Run the job as one of the users, with the umask of a shared folder."""
    return subprocess.run(
        [sys.executable, "-c", JOB, str(user), str(GROUP), *words],
        cwd=folder, text=True, capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.fixture
def shared():
    """A folder of the group, in which new files belong to it; pytest's own are closed to others."""
    if os.geteuid() != 0:
        pytest.skip("only root can run jobs as other users")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chown(folder, USERS[0], GROUP)
        folder.chmod(0o2770)
        yield folder


def test_a_second_user_goes_on_with_the_tables_and_answers_of_the_first(shared):
    first = run(USERS[0], shared, "a", "b")
    assert first.returncode == 0, first.stderr
    assert first.stdout.split() == ["0", "2"]
    second = run(USERS[1], shared, "a", "b", "c")
    assert second.returncode == 0, second.stderr
    assert second.stdout.split() == ["2", "1"], "a and b are taken over, and not asked again"
    third = run(USERS[0], shared, "a", "b", "c", "d")
    assert (third.returncode, third.stdout.split()) == (0, ["3", "1"]), third.stderr


@pytest.fixture
def two_mounts(tmp_path):
    """One folder, mounted at two places."""
    places = [tmp_path / name for name in ("here", "there")]
    stored = tmp_path / "stored"
    for folder in (*places, stored):
        folder.mkdir()
    mounted = []
    try:
        for place in places:
            mount = ["mount", "--bind", str(stored), str(place)]
            if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
                pytest.skip("no right to mount a folder here")
            mounted.append(place)
        yield places
    finally:
        for place in mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_lock_holds_at_every_place_where_its_folder_is_mounted(two_mounts):
    here, there = two_mounts
    with locked(here / "table.lock"), pytest.raises(Timeout), locked(there / "table.lock", wait_s=0):
        pass
    with locked(there / "table.lock", wait_s=0):
        pass


def test_a_folder_that_the_first_user_does_not_share_is_named(shared):
    assert run(USERS[0], shared, "a").returncode == 0
    for path in (shared / "results").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    second = run(USERS[1], shared, "a", "b")
    assert second.returncode == 1
    message = second.stderr.splitlines()[-1]
    assert "Permission denied: results/ingest/source/.one.parquet.lock" in message
    assert "the folder's owner and permissions" in message
