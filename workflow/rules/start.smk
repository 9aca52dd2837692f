"""What is looked at when jobs are about to run: keys and prices of vendors, and room on the disk."""

from deepfakemnist.liveness.costs import announce
from deepfakemnist.liveness.keys import check_keys
from deepfakemnist.workflow.disk_check import check_disk


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


# Not called in a workflow that uses this one as a module: there, the job itself asks for its keys.
onstart:
    planned = list(workflow.dag.needrun_jobs())
    # Which jobs a later round adds is not known before its candidates are.
    names = {job.rule.name for job in planned}
    try:
        if not RUN_PLAN.released:
            announce_vendors(planned, "draw_candidates" in names)
        if line := check_disk(RUN_PLAN, Path(RESULTS), names):
            print(line, file=sys.stderr)
    except ConfigError as error:
        raise WorkflowError(str(error)) from None
