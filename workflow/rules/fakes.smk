"""Where the tables of fakes lie: with rounds, fakes of each are in shards of their own, SHARD@ROUND."""

from functools import cache

from snakemake.exceptions import IncompleteCheckpointException

from deepfakemnist.planning.rounds import read_candidates


@cache
def candidates_at(path, written_ns):
    """Return the candidates of a round, read once as long as its table stays the same."""
    return read_candidates(path)


@cache
def tell_of_later_rounds(number):
    """Say once that the jobs counted so far are not all: the next round follows from verdicts."""
    results = CONFIG.pathvars.get("results", "results")
    # Snakemake asks first and looks for what was drawn by an earlier run then.
    known = Path(f"{results}/rounds/round{number}.parquet").exists()
    if workflow.is_main_process and not known:
        print(
            f"Round {number} is drawn when liveness has judged the rounds before it; jobs of later rounds, and all "
            "that needs every fake, are counted then.",
            file=sys.stderr,
        )


def fake_shards(last):
    """Return the shards of fakes of rounds 1 to ``last``; the rounds end where nothing was drawn."""
    shards = list(RUN_PLAN.fake_shards())
    for number in range(2, last + 1):
        try:
            table = Path(checkpoints.draw_candidates.get(round=number).output.table)
        except IncompleteCheckpointException:
            tell_of_later_rounds(number)
            raise
        more = RUN_PLAN.fake_shards(candidates_at(table, table.stat().st_mtime_ns))
        if not more:
            break
        shards += more
    return shards


def fake_tables(pattern, **wildcards):
    """Return the tables of a stage of fakes, one per shard of every round."""
    if not RUN_PLAN.rounds:
        return tables(pattern, shards=RUN_PLAN.fake_shards(), **wildcards)
    return lambda _: tables(
        pattern, shards=fake_shards(CONFIG.plan.max_rounds), **wildcards
    )


def tables_of_earlier_rounds(pattern):
    """Return the tables of a stage of fakes of all rounds before the one that is drawn."""
    return lambda wildcards: tables(
        pattern, shards=fake_shards(int(wildcards.round) - 1)
    )


def plans_of_the_sources(wildcards):
    """Return the plans of all rounds for the sources of a shard."""
    if not RUN_PLAN.rounds:
        return [f"<results>/plan/{wildcards.shard}.parquet"]
    shards = fake_shards(CONFIG.plan.max_rounds)
    mine = source_shard(wildcards.shard)
    return tables(
        "<results>/plan/{shard}.parquet",
        shards=[shard for shard in shards if source_shard(shard) == mine],
    )


def drawn_in_the_round(wildcards):
    """Return what was drawn in the round of a shard; the first round is known without."""
    number = round_of(wildcards.shard)
    return f"<results>/rounds/round{number}.parquet" if number > 1 else []
