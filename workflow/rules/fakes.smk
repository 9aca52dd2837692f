"""Tables of fakes. With rounds, every round has separate shards, SHARD@ROUND."""

from functools import cache

from snakemake.exceptions import IncompleteCheckpointException

from deepfakemnist.planning.rounds import read_candidates


@cache
def candidates_at(path, written_ns):
    """Return the candidates of a round, cached until its table changes."""
    try:
        return read_candidates(path)
    except ConfigError as error:
        raise WorkflowError(str(error)) from None


@cache
def announce_later_rounds(number):
    """Print once that the job count is incomplete, because the next round depends on verdicts."""
    results = CONFIG.pathvars.get("results", "results")
    # Snakemake calls this before it looks for the table of an earlier run.
    exists = Path(f"{results}/rounds/round{number}.parquet").exists()
    if workflow.is_main_process and not exists:
        print(
            f"Round {number} is sampled after the liveness verdicts of earlier rounds; jobs of later rounds, and those "
            "that need all fakes, are counted then.",
            file=sys.stderr,
        )


def fake_shards(last):
    """Return the fake shards of rounds 1 to ``last``, or to the first round without candidates."""
    shards = list(RUN_PLAN.fake_shards())
    for number in range(2, last + 1):
        try:
            table = Path(checkpoints.draw_candidates.get(round=number).output.table)
        except IncompleteCheckpointException:
            announce_later_rounds(number)
            raise
        more = RUN_PLAN.fake_shards(candidates_at(table, table.stat().st_mtime_ns))
        if not more:
            break
        shards += more
    return shards


def fake_tables(pattern, **wildcards):
    """Return the tables of a fake stage, one per shard of every round."""
    if not RUN_PLAN.rounds:
        return tables(pattern, shards=RUN_PLAN.fake_shards(), **wildcards)
    return lambda _: tables(
        pattern, shards=fake_shards(CONFIG.plan.max_rounds), **wildcards
    )


def tables_of_earlier_rounds(pattern):
    """Return the tables of a fake stage for all rounds before the wildcard's."""
    return lambda wildcards: tables(
        pattern, shards=fake_shards(int(wildcards.round) - 1)
    )


def plans_of_sources(wildcards):
    """Return the plan tables of all rounds for the sources of a shard."""
    if not RUN_PLAN.rounds:
        return [f"<results>/plan/{wildcards.shard}.parquet"]
    shards = fake_shards(CONFIG.plan.max_rounds)
    wanted = source_shard(wildcards.shard)
    return tables(
        "<results>/plan/{shard}.parquet",
        shards=[shard for shard in shards if source_shard(shard) == wanted],
    )


def candidates_of_round(wildcards):
    """Return the candidate table of a shard's round; none for the first round, which follows from the config."""
    number = round_of(wildcards.shard)
    return f"<results>/rounds/round{number}.parquet" if number > 1 else []


def clips_of_job(job):
    """Return the number of clips that a liveness job may send."""
    shard = job.wildcards.shard
    number = round_of(shard)
    if number == 1:
        return len(RUN_PLAN.assignments(shard))
    table = Path(checkpoints.draw_candidates.get(round=number).output.table)
    return len(
        RUN_PLAN.assignments(shard, candidates_at(table, table.stat().st_mtime_ns))
    )
