"""Tables of fakes. With rounds, every round has separate shards, SHARD@ROUND."""

from functools import cache

from snakemake.exceptions import IncompleteCheckpointException

from deepfakemnist.planning.rounds import read_candidates

#: Later rounds as they were read, also those that were drawn again since.
LATER_ROUNDS = []


@cache
def round_from(path, written_ns):
    """Return a later round, cached until its table of candidates changes."""
    try:
        LATER_ROUNDS.append(RUN_PLAN.later_round(read_candidates(path)))
    except ConfigError as error:
        raise WorkflowError(str(error)) from None
    return LATER_ROUNDS[-1]


def candidate_table(number):
    """Return the table with the candidates of a round, from 2."""
    return Path(f"{RESULTS}/rounds/round{number}.parquet")


def known_rounds():
    """Return the number of rounds whose candidates are there when the run is planned."""
    number = 1
    while BUCKET.fetch(candidate_table(number + 1)).exists():
        number += 1
    return number


KNOWN_ROUNDS = known_rounds()


def fake_round(number):
    """Return the fakes of a round; later rounds are known once their candidates are.

    Asking the checkpoint makes Snakemake build the whole graph once more for every round, which takes longer than all
    else in a run with nothing to do. A table that was there at the start therefore counts as it is. Whoever reads it
    here has it as an input too (candidates_of_round, tables_of_rounds): when it is drawn again, Snakemake asks all of
    them for their inputs again.
    """
    if number == 1:
        return RUN_PLAN.first_round
    table = candidate_table(number)
    if number > KNOWN_ROUNDS or not table.exists():
        checkpoints.draw_candidates.get(round=number)
    return round_from(table, table.stat().st_mtime_ns)


@cache
def announce_later_rounds(number):
    """Print once that the job count is incomplete, because the next round depends on verdicts."""
    # Snakemake calls this before it looks for the table of an earlier run.
    if workflow.is_main_process and not candidate_table(number).exists():
        print(
            f"Round {number} is sampled after the liveness verdicts of earlier rounds; jobs of later rounds, and those "
            "that need all fakes, are counted then.",
            file=sys.stderr,
        )


def fake_rounds(last):
    """Return rounds 1 to ``last``, or to the last one with candidates."""
    rounds = [RUN_PLAN.first_round]
    for number in range(2, last + 1):
        try:
            later = fake_round(number)
        except IncompleteCheckpointException:
            announce_later_rounds(number)
            raise
        if not later.shards:
            break
        rounds.append(later)
    return rounds


def fake_shards(last):
    """Return the fake shards of rounds 1 to ``last``."""
    return [shard for one in fake_rounds(last) for shard in one.shards]


def tables_of_rounds(wildcards):
    """Return the candidate tables of the rounds that a job reads: before the wildcard's, else all."""
    if not RUN_PLAN.rounds:
        return []
    last = int(wildcards.get("round", CONFIG.plan.max_rounds + 1)) - 1
    # With that of the first round without candidates, which ends them.
    number = min(len(fake_rounds(last)) + 1, last)
    return [f"<results>/rounds/round{one}.parquet" for one in range(2, number + 1)]


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


def source_crops(wildcards):
    """Return the tables of cropped sources of a shard, real or fake."""
    if wildcards.get("kind") == "real":
        return [f"<results>/crop/source/{wildcards.shard}.parquet"]
    sources = fake_round(round_of(wildcards.shard)).sources_of(wildcards.shard)
    return tables("<results>/crop/source/{shard}.parquet", shards=sources)


def plans_of_sources(wildcards):
    """Return the plan tables of all rounds for the sources of a shard, real or fake."""
    number = round_of(wildcards.shard)
    own = (
        [wildcards.shard]
        if wildcards.kind == "real"
        else fake_round(number).sources_of(wildcards.shard)
    )
    shards = [
        shard
        for one in fake_rounds(CONFIG.plan.max_rounds if RUN_PLAN.rounds else 1)
        for shard in one.fakes_of(own)
    ]
    return tables("<results>/plan/{shard}.parquet", shards=shards)


def candidates_of_round(wildcards):
    """Return the candidate table of a shard's or batch's round; none for the first, which follows from the config."""
    number = round_of(wildcards.get("shard") or wildcards.batch)
    return f"<results>/rounds/round{number}.parquet" if number > 1 else []


def clips_of_job(job):
    """Return the number of clips that a liveness job may send."""
    shard = job.wildcards.shard
    return fake_round(round_of(shard)).parts[shard].fakes
