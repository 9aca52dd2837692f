"""Liveness detection on every animation, and selection of those that all providers classify as live."""

from deepfakemnist.config.liveness import PLUGINS as LIVENESS_PLUGINS


rule liveness:
    """One provider's liveness verdict on every animation of a shard."""
    input:
        animations="<results>/animate/{shard}.parquet",
        media=media_of("<results>/animate/{shard}.parquet"),
        gates=lambda wildcards: expand(
            "<results>/liveness/{provider}/{{shard}}.parquet",
            provider=CONFIG.liveness.gates(wildcards.provider),
        ),
    output:
        table="<results>/liveness/{provider}/{shard}.parquet",
    log:
        "<logs>/liveness/{provider}/{shard}.log",
    benchmark:
        "<benchmarks>/liveness/{provider}/{shard}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=growing(3000),
        runtime=growing(120),
    params:
        *key_texts_by(lambda wildcards: wildcards.provider, "liveness", PROVIDERS),
        settings=lambda wildcards, input: PROVIDERS[wildcards.provider].model_dump(
            mode="json"
        ),
        motions=asked_motions,
        answers=answers_folder(),
        fps=CONFIG.crop.fps,
        code=lambda wildcards: plugin_code(
            LIVENESS_PLUGINS.get(wildcards.provider), "liveness.stages"
        ),
    script:
        "../scripts/liveness.py"


if CONFIG.liveness.called_here:

    localrules:
        call_vendor,

    ruleorder: call_vendor > liveness

    use rule liveness as call_vendor with:
        wildcard_constraints:
            provider="|".join(CONFIG.liveness.called_here),


localrules:
    select,


rule select:
    """Accept the animations that every provider classifies as live and that pass the quality gate, if one is set."""
    input:
        animations="<results>/animate/{shard}.parquet",
        verdicts=expand(
            "<results>/liveness/{provider}/{{shard}}.parquet", provider=PROVIDERS
        ),
        # Without a gate, no animation has to be judged before it is accepted.
        judged=branch(CONFIG.select.limits, then="<results>/judge/{shard}.parquet"),
    output:
        table="<results>/select/{shard}.parquet",
    log:
        "<logs>/select/{shard}.log",
    benchmark:
        "<benchmarks>/select/{shard}.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        *key_texts("select", CONFIG.select),
        settings=unwatched(settings_of("select")),
        code=code_digest("liveness.select"),
    script:
        "../scripts/select.py"


rule liveness_page:
    """Pass rates with confidence intervals, liveness against quality, scores with thresholds, and cost."""
    input:
        verdicts=fake_tables(
            "<results>/liveness/{provider}/{shard}.parquet", provider=PROVIDERS
        ),
        selected=fake_tables("<results>/select/{shard}.parquet"),
        judged=fake_tables("<results>/judge/{shard}.parquet"),
        rounds=tables_of_rounds,
    output:
        page=report(
            "<results>/report/liveness.html",
            category="4 Fakes",
            labels={"what": "liveness"},
            caption="../report/liveness.rst",
        ),
    log:
        "<logs>/liveness_page.log",
    benchmark:
        "<benchmarks>/liveness_page.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=by_videos(800, per_thousand=30),
        runtime=growing(60),
    params:
        settings=settings_of("select"),
        notice=CONFIG.report.notice,
        code=code_digest("report.liveness_page"),
    script:
        "../scripts/liveness_page.py"
