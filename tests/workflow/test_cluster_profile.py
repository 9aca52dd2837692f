"""What the SLURM profile plans: partitions, GPUs, nodes and attempts of every rule, whatever config comes with it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny_project import ROOT, tiny_config, tiny_environment

from deepfakemnist.workflow.gpu_requests import gpu_advice, gpus_per_job, rules_with_gpu
from deepfakemnist.workflow.run_directory import hint_at_defaults

PROFILE = ROOT / "profiles/slurm"
CALLED_FROM_LOGIN = "{calls_from: login, providers: [{provider: local-action}, {provider: tianyan}]}"
GPU_RULES = ("train_animator", "extract_motion", "animate", "reenact", "train", "predict", "predict_perturbed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose videos are empty files: planning opens none."""
    folder = tmp_path_factory.mktemp("planned")
    people = [f"p{number}" for number in range(4)]
    for name in (*people, "d0", "d1"):
        (folder / f"{name}.mp4").touch()
    rows = ["video_id\tpath\tperson_id", *(f"{name}\t{name}.mp4\t{name}" for name in people)]
    (folder / "sources.tsv").write_text("\n".join(rows) + "\n")
    rows = ["driver_id\taction\tpath\tperson_id", "d0\tyaw\td0.mp4\tp0", "d1\tmouth\td1.mp4\tp1"]
    (folder / "drivers.tsv").write_text("\n".join(rows) + "\n")
    shutil.copytree(ROOT / "config", folder / "config")
    config = tiny_config(folder) | {"device": "auto"}
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    (folder / "mesh.yaml").write_text("animator: null\nanimators: [{name: mesh}]\n")
    return folder


def plan(folder: Path, *words: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--snakefile", ROOT / "Snakefile", "--directory", folder, *words],
        capture_output=True, text=True, env=tiny_environment(), cwd=folder, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def resources(output: str) -> dict[str, dict[str, str]]:
    """Return rule → resources of its last job, from a dry run's output."""
    found = re.findall(r"^(?:local)?rule (\w+):\n.*?^    resources: ([^\n]*)", output, flags=re.S | re.M)
    return {rule: dict(pair.split("=") for pair in line.split(", ")) for rule, line in found}


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("words", "gpus"),
    [
        ((), {}),
        (("--config", "training={gpus: 4}", f"liveness={CALLED_FROM_LOGIN}"), {"train": "4"}),
        (("mesh.yaml",), dict.fromkeys(("extract_motion", "animate", "reenact"), "0")),
    ],
)
def test_gpu_jobs_get_their_gpus_on_one_node_of_the_gpu_partition(folder, words, gpus) -> None:
    planned = resources(plan(folder, "--workflow-profile", PROFILE, "--configfile", "mine.yaml", *words))
    on_gpu = {rule: of for rule, of in planned.items() if of.get("slurm_partition") == "gpu"}
    assert on_gpu.keys() >= set(GPU_RULES) - ({"train_animator"} if "mesh" in str(words) else set())
    for rule, of in on_gpu.items():
        assert (of["nodes"], of["gpu"]) == ("1", gpus.get(rule, "1")), rule
    assert planned["liveness"]["slurm_partition"] == "cpu" and "gpu" not in planned["liveness"]
    assert ("call_vendor" in planned) == any(CALLED_FROM_LOGIN in word for word in words)


def test_the_profile_knows_every_rule_that_uses_a_gpu() -> None:
    profile = yaml.safe_load((PROFILE / "config.yaml").read_text())
    files = sorted((ROOT / "workflow/rules").glob("*.smk"))
    rules = re.split(r"^ *(?:use )?rule (\w+)", "".join(path.read_text() for path in files), flags=re.M)
    users = {name for name, body in zip(rules[1::2], rules[2::2], strict=True) if " gpu=" in body}
    assert users > set(GPU_RULES)
    placed = {
        name
        for name, settings in profile["set-resources"].items()
        if (settings["slurm_partition"], settings["nodes"]) == ("gpu", 1)
    }
    assert placed == users
    assert rules_with_gpu(profile["set-resources"]) and "config" not in profile


def test_every_job_asks_for_more_time_and_memory_at_each_attempt() -> None:
    rules = "".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    limits = re.findall(r"^ +(?:mem_mb|runtime)=(.*)$", rules, flags=re.M)
    assert len(limits) > 60
    assert [limit for limit in limits if not re.match(r"growing\(|by_videos\(|lambda .*attempt", limit)] == []


def test_a_profile_with_gpus_decides_for_a_login_node_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for requested in ({"gpu": 1}, {"gres": "gpu:a100:1"}, {"gpu": "threads // 4"}):
        assert gpus_per_job("auto", {"predict": requested}) == 1
    for other in ({}, {"predict": {"gpu": 0}}, {"predict": {"gres": "scratch:1"}}, {"predict": {"mem_mb": 1}}):
        assert gpus_per_job("auto", other) == 0
    assert (gpus_per_job("cpu", {"predict": {"gpu": 1}}), gpus_per_job("cuda", {})) == (0, 1)


def test_where_device_and_profile_do_not_fit_a_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu_advice("auto", {"predict": {"gpu": 1}}) == gpu_advice("cpu", {}) == ""
    assert "requests a GPU for predict, train. In a copy" in gpu_advice(
        "cpu", {"train": {"gpu": 1}, "predict": {"gpu": 1}}
    )
    assert "this machine has no NVIDIA GPU" in gpu_advice("cuda", {})


@pytest.mark.workflow
def test_a_directory_without_default_config_is_named(folder: Path, tmp_path: Path) -> None:
    preset = ROOT / "config/presets/demo.yaml"
    said = plan(tmp_path, "--configfile", str(preset), status=1)
    assert "seed: missing" in said and f"working directory {tmp_path} has no config/config.yaml" in said
    assert "Traceback" not in said
    assert hint_at_defaults(folder) == hint_at_defaults(tmp_path, is_module=True) == ""


@pytest.mark.workflow
def test_memory_for_tables_of_the_whole_dataset_grows_with_its_sources_and_each_attempt(tmp_path: Path) -> None:
    config = tiny_config(tmp_path) | {"shard_size": 1000, "plan": {"actions": ["yaw"]}, "animator": {"name": "mesh"}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "config").symlink_to(ROOT / "config")
    (tmp_path / "d.mp4").touch()
    (tmp_path / "drivers.tsv").write_text("driver_id\taction\tpath\nd\tyaw\td.mp4\n")
    asked = []
    for sources, attempt in ((10, 1), (1010, 3)):
        for number in range(sources):
            (tmp_path / f"{number}.mp4").touch()
        rows = [f"p{number}\t{number}.mp4" for number in range(sources)]
        (tmp_path / "sources.tsv").write_text("\n".join(["video_id\tpath", *rows]) + "\n")
        output = plan(tmp_path, "--configfile", "mine.yaml", "--attempt", str(attempt), "--", "dataset")
        asked.append({rule: int(of["mem_mb"]) for rule, of in resources(output).items() if "mem_mb" in of})
    few, many = asked
    grown = {rule: many[rule] - 3 * few[rule] for rule in few}
    assert grown["ingest"] == 0
    # docs/scaling.md: of 20,000 videos, half of them fakes, the manifest takes 0.8 GB, 0.54 more than of 2,000.
    assert grown["manifest"] > 3 * 60
