"""Liveness rules run by Snakemake against simulated vendors: gates, evidence, report page, no leaked keys."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from simulated_vendors import ENVIRONMENT, small_clip, vendors

from deepfakemnist.liveness.simulator.contract import KEYS
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import ANIMATED, ANIMATION_QUALITY

pytestmark = pytest.mark.workflow

ROOT = Path(__file__).parents[2]
GOALS = ["results/report/liveness.html"]


@pytest.fixture
def project(tmp_path):
    """Four fakes of one shard, as left by the stages animate and judge, and sheets that name some file."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    rows = []
    for number in range(4):
        clip = write_working_clip(tmp_path / f"{number}.mp4", list(small_clip(number).frames), 25.0)
        rows.append(
            {
                "video_id": f"s{number}@d",
                "source_id": f"s{number}",
                "action": "smile",
                "path": f"{number}.mp4",
                "pixels_sha256": clip.pixels_sha256,
                "status": "ok",
                "reason": "",
                "detail": "",
            }
        )
    write_table(rows, tmp_path / "results/animate/shard-0000.parquet", ANIMATED)
    judged = [{name: row[name] for name in ("video_id", "action", "status", "reason", "detail")} for row in rows]
    write_table(judged, tmp_path / "results/judge/shard-0000.parquet", ANIMATION_QUALITY)
    (tmp_path / "sources.tsv").write_text("video_id\tpath\n" + "".join(f"s{n}\t{n}.mp4\n" for n in range(4)))
    (tmp_path / "drivers.tsv").write_text("driver_id\taction\tpath\nd\tsmile\t0.mp4\n")
    return tmp_path


def configure(project, address, **more):
    upload = {"min_side": 32, "min_seconds": 0.2}
    common = {"base_url": address, "qps": 50, "upload": upload, **more}
    config = {
        "shard_size": 100,
        "sources": {"sheet": "sources.tsv"},
        "drivers": {"sheet": "drivers.tsv"},
        "plan": {"actions": ["smile"]},
        "liveness": {"providers": [{"provider": "baidu", **common}, {"provider": "tianyan", **common}]},
    }
    (project / "my.yaml").write_text(yaml.safe_dump(config))


def snakemake(project, keys=ENVIRONMENT, rules=("liveness", "select", "liveness_page"), goals=GOALS):
    words = ["--cores", "1", "--allowed-rules", *rules, "--configfile", "my.yaml"]
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile", "-d", project, *words, "--", *goals],
        env={**os.environ, **keys, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, cwd=project, timeout=300,
    )  # fmt: skip


def test_vendors_are_queried_in_order_of_price_and_no_key_is_written(project):
    with vendors() as (simulator, address):
        configure(project, address)
        done = snakemake(project)
        assert done.returncode == 0, done.stderr[-3000:]
        billed = dict(simulator.account.billed)
    assert "liveness: 4 clips at baidu cost up to 0.86 and take" in done.stderr
    tianyan = {row["video_id"]: row for row in read_rows(project / "results/liveness/tianyan/shard-0000.parquet")}
    baidu = {row["video_id"]: row for row in read_rows(project / "results/liveness/baidu/shard-0000.parquet")}
    passed = [name for name, row in tianyan.items() if row["live"]]
    assert 0 < len(passed) < 4
    assert [name for name, row in baidu.items() if row["reason"] != "not_asked"] == passed
    assert sorted(service for service, _ in billed) == ["baidu verify"] * len(passed) + ["tianyan"] * 4
    accepted = [
        row["video_id"] for row in read_rows(project / "results/select/shard-0000.parquet") if row["status"] == "ok"
    ]
    assert accepted == [name for name in passed if baidu[name]["live"]]
    assert "all providers" in (project / "results/report/liveness.html").read_text()

    secrets = [*(key.encode() for key in KEYS.values()), rb"24\.[0-9a-f]{32}"]  # the last: access tokens
    files = [path for path in project.rglob("*") if path.is_file()]
    assert {".snakemake", "results", "my.yaml"} <= {path.relative_to(project).parts[0] for path in files}
    for text in (*(path.read_bytes() for path in files), done.stdout.encode(), done.stderr.encode()):
        for secret in secrets:
            assert not re.search(secret, text)


def test_keys_are_asked_for_and_costs_announced_only_where_jobs_of_that_vendor_run(project):
    def keys(*vendors):
        return {name: value if name.split("_")[1] in vendors else "" for name, value in ENVIRONMENT.items()}

    with vendors() as (_, address):
        configure(project, address)
        # A crop table asks no vendor.
        (crops,) = goals = ["results/crop/source/shard-0000.parquet"]
        done = snakemake(project, keys(), ("ingest", "crop"), goals)
        assert done.returncode == 0 and (project / crops).is_file(), done.stderr[-3000:]
        assert snakemake(project).returncode == 0

        # Behind finished verdicts, nor does the report page.
        (project / GOALS[0]).unlink()
        done = snakemake(project, keys())
        assert done.returncode == 0 and "liveness:" not in done.stderr, done.stderr[-3000:]
        for table in ("liveness/baidu", "select"):
            (project / f"results/{table}/shard-0000.parquet").unlink()
        (project / GOALS[0]).unlink()
        done = snakemake(project, keys("TIANYAN"))
        assert done.returncode == 1 and "baidu needs its keys" in done.stderr
        done = snakemake(project, keys("BAIDU"))
        assert done.returncode == 0, done.stderr[-3000:]
        assert "4 clips at baidu" in done.stderr and "at tianyan" not in done.stderr


def test_a_run_without_keys_stops_before_any_job(project):
    configure(project, "http://127.0.0.1:9")
    done = snakemake(project, keys=dict.fromkeys(ENVIRONMENT, ""))
    assert done.returncode == 1
    assert "baidu needs its keys in the environment, but DEEPFAKEMNIST_BAIDU_API_KEY and" in done.stderr
    assert not (project / "results/liveness").exists()
