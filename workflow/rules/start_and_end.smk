"""What happens before the first job and after the last: keys and prices of vendors, room on the disk, summaries."""

from deepfakemnist.liveness.costs import announce
from deepfakemnist.liveness.keys import check_keys


def announce_vendors(jobs, more_rounds):
    """Ask for the keys of the vendors that jobs will call, and print what they may cost."""
    clips_of = dict.fromkeys(PROVIDERS, 0) if more_rounds else {}
    for job in jobs:
        if job.rule.name in ("liveness", "call_vendor"):
            provider = job.wildcards.provider
            clips_of[provider] = clips_of.get(provider, 0) + clips_of_job(job)
    check_keys(name for name in PROVIDERS if name in clips_of)
    print(
        announce(CONFIG.liveness, clips_of, more_rounds),
        end="",
        file=sys.stderr,
    )


def remove_spent_clips():
    """Remove intermediate clips that nothing is to be made from any more, if the config says so."""
    from deepfakemnist.workflow.garbage import remove_intermediate

    if CONFIG.disk.intermediate == "remove" and (
        line := remove_intermediate(RUN_PLAN, Path(RESULTS))
    ):
        print(line, file=sys.stderr)


def check_space(jobs):
    """Refuse to start jobs that read removed clips, or that will write more than there is room for."""
    # Imported here, because every job parses this file.
    from deepfakemnist.workflow.disk_check import check_disk
    from deepfakemnist.workflow.garbage import describe_clips_to_restore

    files = [(job.rule.name, list(job.input), list(job.output)) for job in jobs]
    if text := describe_clips_to_restore(Path(RESULTS), files):
        raise ConfigError(text)
    # What a bucket has room for, nobody says.
    if CONFIG.storage.media == "files" and (
        line := check_disk(RUN_PLAN, Path(RESULTS), {name for name, _, _ in files})
    ):
        print(line, file=sys.stderr)


# Not called in a workflow that uses this one as a module: there, the job itself asks for its keys.
onstart:
    planned = list(workflow.dag.needrun_jobs())
    # Which jobs a later round adds is not known before its candidates are.
    more_rounds = any(job.rule.name == "draw_candidates" for job in planned)
    try:
        if not RUN_PLAN.released:
            announce_vendors(planned, more_rounds)
        check_space(planned)
    except ConfigError as error:
        raise WorkflowError(str(error)) from None


onsuccess:
    from deepfakemnist.dataset.identity_findings import summary_for_terminal

    sys.stderr.write(summary_for_terminal(Path(RESULTS) / "audit/identities.tsv"))
    remove_spent_clips()


onerror:
    from deepfakemnist.schedulers.slurm import cancel_left

    cancel_left(workflow.scheduler._executor)
    print(
        "\nA job failed; its log is named above, and the logs of all jobs are below "
        f"{LOGS}/. Finished videos are kept: run the same command again to resume. "
        "If Snakemake was killed and reports a locked directory, run it once with --unlock first."
    )
    remove_spent_clips()
