"""End-to-end runs of the workflow on a tiny project full of bad input."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from zipfile import ZipFile

import pytest
import report_pages
import yaml
from browser import accessibility, cut_off, opened, wait_until_shown
from snakemake_report import SnakemakeReport
from tiny_project import BAD, GOOD, ODD, ROOT, Project

from deepfakemnist.media.decode import read_clip
from deepfakemnist.media.samples import samples_sha256
from deepfakemnist.tables.files import read_rows, read_table

pytestmark = pytest.mark.workflow


def ledger(project):
    """Return ledger rows by id; the line number of a refused sheet line is dropped."""
    rows = read_rows(project.folder / "results/manifest/ledger.parquet")
    return {re.sub(r" \(line \d+\)$", "", row["video_id"]): row for row in rows}


def jobs(output):
    """Return job counts by rule from the table of a dry run."""
    table = output.split("Job stats:")[-1]
    return {name: int(count) for name, count in re.findall(r"^([a-z_]+) +(\d+)$", table, flags=re.M)}


def pixels(project):
    """Return (video, quality) → hash of the decoded frames of its file."""
    rows = read_rows(project.folder / "results/manifest/videos.parquet")
    return {(row["video_id"], row["quality"]): samples_sha256(project.folder / row["path"]) for row in rows}


def test_ledger_accounts_for_every_source_with_its_reason(finished):
    rows = {name: row for name, row in ledger(finished).items() if row["kind"] == "source"}
    assert set(rows) == {*GOOD, *ODD, *BAD}
    found = {name: (rows[name]["stage"], rows[name]["status"], rows[name]["reason"]) for name in BAD}
    assert found == BAD
    for name in (*GOOD, *ODD):
        assert (rows[name]["stage"], rows[name]["status"]) == ("frames", "ok"), rows[name]
    for name in BAD:
        assert rows[name]["detail"], name
    assert re.search(r"sources\.tsv line \d+: video_id", rows["a/b"]["detail"])


def test_every_usable_source_is_animated_and_every_fake_is_in_the_split_of_its_source(finished):
    videos = read_rows(finished.folder / "results/manifest/videos.parquet")
    fakes = [row for row in videos if row["label"] == 1 and row["quality"] == "raw"]
    assert {row["source_id"] for row in fakes} == {*GOOD, *ODD}
    assert {row["action"] for row in fakes} == {"yaw", "mouth"}
    split_of = {row["video_id"]: row["split"] for row in videos if row["label"] == 0}
    people = {}
    for row in videos:
        assert row["split"] == split_of[row["source_id"]]
        people.setdefault(row["person_id"], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in people.values())
    assert {row["split"] for row in fakes} == {"train", "val", "test"}


def test_manifest_matches_the_files(finished):
    videos = read_rows(finished.folder / "results/manifest/videos.parquet")
    counts = Counter((row["label"], row["quality"]) for row in videos)
    assert counts == {(label, quality): 8 for label in (0, 1) for quality in ("raw", "c23", "c40")}
    hashes = pixels(finished)
    for row in videos:
        assert hashes[row["video_id"], row["quality"]] == row["pixels_sha256"]
        assert (row["width"], row["height"], row["fps"]) == (64, 64, 25.0)
        assert row["synthetic"] == (row["label"] == 1)


def test_crop_rotates_a_rotated_clip_upright(finished):
    crops = {row["video_id"]: row for row in read_rows((finished.folder / "results/crop/source").glob("*.parquet"))}
    upright, rotated = (read_clip(finished.folder / crops[name]["path"]) for name in ("odd_size", "rotated"))
    assert abs(upright[0].astype(int) - rotated[0].astype(int)).mean() < 12


def test_predictions_and_metrics_cover_splits_qualities_and_levels(finished):
    run = finished.folder / "results/detectors/meso4/c23/seed0"
    predictions = read_rows(run / "predictions.parquet")
    assert {row["split"] for row in predictions} == {"val", "test"}
    assert {row["quality"] for row in predictions} == {"raw", "c23", "c40"}
    metrics = (finished.folder / "results/evaluation/metrics.tsv").read_text().splitlines()
    assert len(metrics) == 1 + 3 * 2 * 4  # qualities × splits × levels (frame, and video by mean, median, top k)


def test_protocols_on_other_data_reach_the_report(finished):
    page = finished.folder / "results/report/protocols.html"
    shown = report_pages.tables(page)
    for number, column in {"6": "seen", "7, 8": "other", "9": "σ 30 grey levels", "10": "fomm"}.items():
        found = [table for title, table in shown.items() if title.startswith(f"{number}. ") and column in table[0]]
        assert any(row[0] == "meso4" for table in found for row in table[1:]), number  # rows, not only the header
    assert report_pages.charts(page)["9. Robustness: balanced accuracy by strength"]


def test_trainings_and_curves_reach_the_report(finished):
    shown = report_pages.charts(finished.folder / "results/report/metrics.html")
    assert {row["detector"] for row in shown["Training: loss and accuracy by epoch"]} == {"meso4"}
    assert {"roc"} <= {row["curve"] for row in shown["ROC curves"]}


def test_second_run_has_nothing_to_do(finished):
    assert "Nothing to be done" in finished.run("-n")


@pytest.fixture
def changed_source(finished):
    """Other content in one source during a test. (Touching a small file without changing it re-runs nothing.)"""
    path = finished.folder / "videos" / f"{GOOD[1]}.mp4"
    content, times = path.read_bytes(), path.stat()
    path.write_bytes((finished.folder / "videos" / f"{GOOD[2]}.mp4").read_bytes())
    yield
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_changed_source_runs_only_its_shard(finished, changed_source):
    planned = jobs(finished.run("-n"))
    per_shard = {
        "ingest": 1,
        "crop": 1,
        "plan": 1,
        "animate": 1,
        "liveness": 1,
        "select": 1,
        "compress": 2,
        "frames": 2,
    }
    assert {rule: planned.get(rule) for rule in per_shard} == per_shard
    assert "train_animator" not in planned and "extract_motion" not in planned


@pytest.fixture(scope="module")
def report(finished, tmp_path_factory):
    """The report in one file, and what Snakemake said."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    return path, finished.run("--report", str(path))


def test_report_is_one_small_file_without_warnings(report):
    path, output = report
    text = path.read_text(encoding="utf-8")
    assert "Docutils System Messages" not in text and "WARNING" not in output
    for label in ("gallery", "ledger", "metrics", "training of the animator"):
        assert label in text
    assert path.stat().st_size < 15e6


def test_every_page_of_the_report_opens_through_the_menu_and_has_no_fault(report, chromium):
    """The window leaves a page its 1,000 pixels beside the menu."""
    with opened(chromium, report[0], width=1340, scheme="dark") as found:
        shown = SnakemakeReport(found)
        shown.frame()
        assert shown.path == "results/report/overview.html", "the overview does not open first"
        reached, faults = set(), []
        for path in shown.visit():
            reached.add(path)
            if shown.kinds[path] == "text/html":
                frame = shown.frame()
                faults += [f"{path}: {line}" for line in cut_off(frame) + accessibility(frame)]
            faults += [f"{path}: {line}" for line in found.complaints]
            found.complaints.clear()
        assert not faults, "\n".join(faults)
        assert reached == {path for path, kind in shown.kinds.items() if kind.startswith(("text/html", "image/"))}

        rows = shown.search("protocols")
        assert rows.count() == 1
        shown.open(rows.first)
        assert shown.path.endswith("protocols.html") and shown.frame().locator("h1").inner_text()
        shown.home()
        assert shown.path == "results/report/overview.html"
        link = shown.frame().locator("a[data-page]").first
        wanted = link.get_attribute("data-page")
        link.click()
        found.page.wait_for_function("page => app.state.resultPath.endsWith('/' + page)", arg=wanted)
        assert shown.frame().locator("h1").inner_text()


def test_clips_of_the_gallery_play_together(report, chromium):
    with opened(chromium, report[0]) as found:
        shown = SnakemakeReport(found)
        shown.open(shown.search("gallery").first)
        gallery = shown.frame()
        gallery.get_by_role("button", name="Play").first.click()
        # They start again at their end, one after the other.
        gallery.wait_for_function(
            """() => {
              const clips = [...document.querySelector(".group").querySelectorAll("video")];
              const times = clips.map(clip => clip.currentTime);
              return times.length === 3 && Math.min(...times) > 0.3 && Math.max(...times) - Math.min(...times) < 0.1;
            }"""
        )


def test_a_report_in_parts_can_be_read_on_a_phone(finished, chromium, tmp_path):
    finished.run("--report", str(tmp_path / "report.zip"))
    with ZipFile(tmp_path / "report.zip") as packed:
        packed.extractall(tmp_path)
    with opened(chromium, tmp_path / "report/report.html", width=420) as found:
        shown = SnakemakeReport(found)
        shown.frame()
        assert shown.path == "results/report/overview.html"
        first = next(shown.visit())
        assert shown.frame().locator("h1").is_visible() and not first.endswith("overview.html")
        pages, wide = sorted((tmp_path / "report/data").rglob("*.html")), []
        assert len(pages) == sum(kind == "text/html" for kind in shown.kinds.values())
        for path in pages:
            found.page.goto(path.as_uri())
            wait_until_shown(found.page)
            wide += [f"{path.name}: {line}" for line in cut_off(found.page, tables=False)]
        assert not wide, "\n".join(wide)


def test_an_invalid_config_stops_before_any_job(project):
    config = yaml.safe_load((project.folder / "tiny.yaml").read_text())
    config["crop"]["detect_evry"] = 3
    (project.folder / "wrong.yaml").write_text(yaml.safe_dump(config))
    output = Project(project.folder, "wrong.yaml").run("-n", expect=1)
    assert "crop.detect_evry: unknown key; did you mean 'detect_every'?" in output
    assert "Traceback" not in output


def test_finished_work_that_nobody_recorded_is_taken_over(finished, tmp_path):
    """As after a kill of Snakemake alone: its jobs end well, and the next run deletes their results."""
    shutil.copytree(finished.folder, tmp_path / "again")
    again = Project(tmp_path / "again")
    shard = min(path.stem for path in (again.folder / "results/compress/real").glob("*.parquet"))
    of_shard = [f"{stage}/real/{shard}" for stage in ("compress", "frames")]
    trained = [f"meso4/c23/seed0/{name}" for name in ("checkpoint.safetensors", "history.tsv", "card.md")]
    scored = [f"meso4/c23/seed0/{name}.parquet" for name in ("predictions", "perturbed")]
    lost = [f"results/{table}.parquet" for table in of_shard]
    lost += [f"results/detectors/{name}" for name in (*trained, *scored)]
    before = {name: (again.folder / name).read_bytes() for name in lost}
    for name in lost:
        (again.folder / name).unlink()
    again.run(*lost)
    assert {name: (again.folder / name).read_bytes() for name in lost} == before

    rules = (*of_shard, "train/meso4/c23/seed0", "predict/meso4/c23/seed0", "predict/meso4/c23/seed0_perturbed")
    logs = {rule: (again.folder / f"results/logs/{rule}.log").read_text() for rule in rules}
    assert re.search(r"; 0 of [1-9]\d* videos processed", logs.pop(of_shard[0]))
    assert all("taken over" in log and "epoch" not in log and "scored" not in log for log in logs.values()), logs


@pytest.mark.extended
def test_a_run_resumed_after_kill_9_gives_the_same_dataset(finished, project):
    config = yaml.safe_load((project.folder / "tiny.yaml").read_text())
    config["pathvars"] = {"results": "again"}
    (project.folder / "again.yaml").write_text(yaml.safe_dump(config))
    again = Project(project.folder, "again.yaml")
    process = again.start("dataset")
    deadline = time.monotonic() + 300
    while not list((project.folder / "again/animate").glob("*.parquet")):
        assert process.poll() is None and time.monotonic() < deadline, process.stdout.read()
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    subprocess.run(again.command("--unlock"), check=True, capture_output=True)
    again.run("dataset")
    rows = read_rows(project.folder / "again/manifest/videos.parquet")
    hashes = {(row["video_id"], row["quality"]): row["pixels_sha256"] for row in rows}
    assert hashes == pixels(finished)
    assert not list((project.folder / "again").rglob("*.part*"))


def rows_of_stage(project, results, stage):
    """Return the rows of a stage by video, without the path columns, which name the folder of the results."""
    found = read_rows(sorted((project.folder / results / stage).glob("*.parquet")))
    return {row["video_id"]: {name: value for name, value in row.items() if "path" not in name} for row in found}


def entries(journal):
    """Return the number of finished rows in a journal, which exists from the start of its job on."""
    try:
        return sum(line.endswith(b"\n") for line in journal.read_bytes().splitlines(keepends=True))
    except FileNotFoundError:  # being rewritten
        return 0


@pytest.fixture(scope="module")
def batched(finished):
    """The project up to select with several shards per GPU job, killed with all its processes during one of them."""
    config = yaml.safe_load((finished.folder / "tiny.yaml").read_text())
    # Sixteen sheet lines in four shards: two jobs. The weights are given, so that both results have the same.
    config |= {"pathvars": {"results": "batched"}, "clips_per_gpu_job": 8}
    config["animator"]["weights"] = "results/animator/checkpoint.safetensors"
    (finished.folder / "batched.yaml").write_text(yaml.safe_dump(config))
    resumed = Project(finished.folder, "batched.yaml")
    tables = [f"batched/select/{path.name}" for path in (finished.folder / "results/select").glob("*.parquet")]
    process = resumed.start(*tables)
    deadline = time.monotonic() + 300
    while not (
        journals := [path for path in (resumed.folder / "batched/gpu/animate").glob("*.journal") if entries(path)]
    ):
        assert process.poll() is None and time.monotonic() < deadline, process.stdout.read()
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not journals[0].with_suffix("").exists(), "the job ended before it was killed"
    clips = {path: path.stat().st_mtime_ns for path in (resumed.folder / "batched/animate").rglob("*.mp4")}

    subprocess.run(resumed.command("--unlock"), check=True, capture_output=True)
    resumed.run(*tables)
    log = resumed.folder / "batched/logs/animate" / f"{journals[0].name.split('.')[0]}.log"
    assert int(re.search(r"\((\d+) videos resumed from an earlier run\)", log.read_text())[1]) >= 1
    # Clips written but not yet in a journal when the processes were killed: one per process.
    assert sum(path.stat().st_mtime_ns != written for path, written in clips.items()) <= 2
    return resumed, tables


def test_jobs_of_several_shards_give_the_results_of_one_job_per_shard(finished, batched):
    project, _ = batched
    one, other = project.folder / "results", project.folder / "batched"
    for stage in ("extract_motion", "animate", "select"):
        rows = rows_of_stage(project, "results", stage)
        assert rows == rows_of_stage(project, "batched", stage)
        assert all(row["status"] == "ok" for row in rows.values())
        for table in (one / stage).glob("*.parquet"):
            assert read_table(table).schema.names == read_table(other / stage / table.name).schema.names
    for pattern in ("extract_motion/*/*.npz", "animate/*/*.mp4"):
        # Without partial files, left when the job was killed.
        files, others = (
            {path.relative_to(folder) for path in folder.glob(pattern) if not path.name.startswith(".")}
            for folder in (one, other)
        )
        assert files and files == others


def test_a_dry_run_plans_fewer_jobs_of_several_shards(batched):
    project, tables = batched
    planned = jobs(project.run("-n", "--forceall", *tables))
    rules = ("extract_motion", "extract_motion_shard", "animate", "animate_shard", "select")
    assert {rule: planned[rule] for rule in rules} == {
        "extract_motion": 1, "extract_motion_shard": 1, "animate": 2, "animate_shard": 4, "select": 4,
    }  # fmt: skip
    assert "Nothing to be done" in project.run("-n", *tables)
    graph = project.run("--rulegraph", "dot", *tables)
    assert 'label = "animate_shard"' in graph and 'label = "animate"' in graph
    planned = jobs(project.run("batched/animate/shard-4000.parquet", "-n", "--forceall"))
    assert (planned["animate"], planned["animate_shard"], planned["extract_motion"]) == (1, 1, 1)
    assert "this run has no nobody" in project.run("batched/animate/nobody.parquet", "-n", expect=1)


def test_a_setting_changed_together_with_a_source_reaches_every_shard(batched, changed_source):
    """Behind an ancient input Snakemake would notice only the source, and leave verdicts of two thresholds."""
    project, tables = batched
    config = yaml.safe_load((project.folder / "batched.yaml").read_text())
    config["liveness"]["providers"][0]["threshold"] = 0.1
    (project.folder / "stricter.yaml").write_text(yaml.safe_dump(config))
    planned = jobs(Project(project.folder, "stricter.yaml").run("-n", *tables))
    assert (planned["animate"], planned["liveness"], planned["select"]) == (1, 4, 4)


def test_in_a_job_of_several_shards_a_changed_source_renders_its_own_clip_only(batched, changed_source):
    project, tables = batched
    clips = {path: path.stat().st_mtime_ns for path in (project.folder / "batched/animate").rglob("*.mp4")}
    planned = jobs(project.run("-n", *tables))
    # Its job has two shards.
    once, twice = ("ingest", "crop", "plan", "animate"), ("animate_shard", "liveness", "select")
    assert planned == {**dict.fromkeys(once, 1), **dict.fromkeys(twice, 2), "total": 10}
    project.run(*tables)
    changed = [path.name for path, written in clips.items() if path.stat().st_mtime_ns != written]
    assert [name.split("@")[0] for name in changed] == [GOOD[1]]


def test_results_started_without_a_gpu_are_complete_on_a_machine_with_one(finished):
    assert "Nothing to be done" in finished.run("-n", "--config", "device=cuda")


def test_slurm_plans_jobs_of_several_shards_on_the_gpu_partition(finished):
    config = yaml.safe_load((finished.folder / "tiny.yaml").read_text()) | {"pathvars": {"results": "elsewhere"}}
    (finished.folder / "elsewhere.yaml").write_text(yaml.safe_dump(config))
    elsewhere = Project(finished.folder, "elsewhere.yaml")
    profile = ("-n", "--workflow-profile", str(ROOT / "profiles/slurm"))
    output = elsewhere.run(*profile, "--config", "device=auto")
    block = re.search(r"^rule animate:.*?resources: ([^\n]*)", output, flags=re.S | re.M)[1]
    assert "slurm_partition=gpu" in block and "gpu=1" in block
    assert (jobs(output)["animate"], jobs(output)["animate_shard"]) == (1, 4)
