"""Rounds until every action has its quota. Fakes of a round are in shards of their own: SHARD@ROUND.

Without plan.max_rounds all candidates are known beforehand, and nothing here but the rule quota is used.
"""

from functools import cache

from snakemake.exceptions import IncompleteCheckpointException

from deepfakemnist.rounds import read_draw


@cache
def candidates_at(path, written_ns):
    """Return the candidates of a round, read once as long as its table stays the same."""
    return read_draw(path)


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
    shards = list(ROAD.fake_shards())
    for number in range(2, last + 1):
        try:
            table = Path(checkpoints.draw.get(round=number).output.table)
        except IncompleteCheckpointException:
            tell_of_later_rounds(number)
            raise
        more = ROAD.fake_shards(candidates_at(table, table.stat().st_mtime_ns))
        if not more:
            break
        shards += more
    return shards


def fake_tables(pattern, **wildcards):
    """Return the tables of a stage of fakes, one per shard of every round."""
    if not ROAD.rounds:
        return tables(pattern, **wildcards)
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
    if not ROAD.rounds:
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


checkpoint draw:
    """Draw the candidates that the quota still wants after the rounds before; none is the end."""
    input:
        plans=tables_of_earlier_rounds("<results>/plan/{shard}.parquet"),
        selected=tables_of_earlier_rounds("<results>/select/{shard}.parquet"),
    output:
        table="<results>/rounds/round{round}.parquet",
    log:
        "<logs>/draw/{round}.log",
    benchmark:
        "<benchmarks>/draw/{round}.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        pool=digest(ROAD.pool()),
        code=code_digest("rounds"),
    script:
        "../scripts/draw.py"


rule quota:
    """Say how near every action came to its quota, and stop where that is not near enough."""
    input:
        plans=fake_tables("<results>/plan/{shard}.parquet"),
        selected=fake_tables("<results>/select/{shard}.parquet"),
    output:
        table="<results>/quota/quota.tsv",
        page=report(
            "<results>/report/quota.html",
            category="Dataset",
            labels={"what": "quota"},
            caption="../report/quota.rst",
        ),
    log:
        "<logs>/quota.log",
    benchmark:
        "<benchmarks>/quota.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        pool=digest(ROAD.pool()),
        on_shortfall=CONFIG.plan.on_shortfall,
        code=code_digest("rounds", "report.quota_page"),
    script:
        "../scripts/quota.py"
