"""Clips rendered elsewhere: which version of them a job imports, and the plan of what to render."""


localrules:
    plan_pairs,


def rendered_version(wildcards):
    """Return a digest of the clips that a job imports and of their rows, for params; empty if it renders itself."""
    animator = animator_of(wildcards)
    if animator.renders_here:
        return ""
    shards = shards_to_animate(wildcards)
    sources = {
        candidate.source_id
        for shard in shards
        for candidate in fake_round(round_of(shard)).candidates(shard)
    }
    listed = clips_by_pair(clips_of_table(animator.table), animator)
    clips = [clip for pair, clip in listed.items() if pair.source_id in sources]
    name = wildcards.get("shard") or wildcards.batch
    versions = INPUT_FILES.versions(
        f"{RESULTS}/{GPU_FOLDER}animate/{name}.parquet", [clip.path for clip in clips]
    )
    # Not the lines, which rows of other sources move.
    rows = [clip[1:] for clip in clips]
    return digest([rows, versions, settings_of("sources")["limits"]])


def pairs_to_render(wildcards):
    """Return the plan tables of clips rendered elsewhere, of all rounds that are known."""
    if RUN_PLAN.released:
        return []
    shards = (
        shard
        for number in range(1, KNOWN_ROUNDS + 1)
        for shard in fake_round(number).shards
        if not ANIMATORS[label_of(shard)].renders_here
    )
    return tables("<results>/plan/{shard}.parquet", shards=shards)


rule plan_pairs:
    """The plan of all clips to render elsewhere, with the crops; then `deepfakemnist plan export` writes them."""
    input:
        pairs_to_render,
