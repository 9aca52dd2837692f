"""Dataset release, on request only: snakemake release."""


rule write_release:
    """The dataset in the authors' layout, with card, checksums, licences, changelog and Croissant metadata."""
    input:
        **pictures(),
        videos="<results>/manifest/videos.parquet",
        frames="<results>/manifest/frames.parquet",
        captions="<results>/manifest/captions.parquet",
        identities="<results>/audit/identities.tsv",
        audit="<results>/audit/audit.tsv",
        media=encoded_media(),
        exclusions=[
            given_file(path)
            for path in (CONFIG.release.exclusions, CONFIG.sources.exclude)
            if path
        ],
    output:
        # The last file written; the folder appears atomically. update: the release of an earlier run stays whole until
        # then, and when the job fails.
        sums=update(f"<results>/release/{CONFIG.release.version}/SHA256SUMS"),
    log:
        "<logs>/release.log",
    benchmark:
        "<benchmarks>/release.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=by_videos(900, per_thousand=75),
        runtime=growing(240),
    params:
        settings=settings_of("release"),
        exclude=CONFIG.sources.exclude,
        exclusions=[
            INPUT_FILES.sha256(path)
            for path in (CONFIG.release.exclusions, CONFIG.sources.exclude)
        ],
        code=code_digest("dataset.release"),
    script:
        "../scripts/release.py"


rule release:
    """Write a release folder below results/release."""
    input:
        rules.write_release.output,
