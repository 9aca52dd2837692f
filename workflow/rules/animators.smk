"""Animators of the run: which one a job belongs to, its settings, weights, code and clips."""

from deepfakemnist.workflow.params import key_texts_by
from deepfakemnist.workflow.sharding import label_of, range_of

#: Animators as named in shards: the first by nothing, the others by their labels.
ANIMATORS = {
    suffix: CONFIG.animator_of(suffix) for suffix in CONFIG.animator_suffixes.values()
}


def label_in(wildcards):
    """Return the animator that a job's shard or batch is named by, see ANIMATORS."""
    label = label_of(wildcards.get("shard") or wildcards.batch)
    if label not in ANIMATORS:
        raise WorkflowError(f"this run has no animator {label}")
    return label


def animator_of(wildcards):
    """Return the settings of the animator that a job's shard or batch belongs to."""
    return ANIMATORS[label_in(wildcards)]


def animator_settings(wildcards, input):
    """Return them as plain values for a script; the rule's params hold their texts."""
    return animator_of(wildcards).model_dump(mode="json")


def motion_tables(wildcards):
    """Return the tables of the motions of all drivers, of the animator that a job's shard belongs to.

    Whoever renders elsewhere is given the crops of the drivers.
    """
    if not animator_of(wildcards).renders_here:
        return driver_tables("crop/driver")
    shards = RUN_PLAN.motion_shards(animator_of(wildcards).named)
    return tables("<results>/extract_motion/{shard}.parquet", shards=shards)


def driver_crop(wildcards):
    """Return the table of the cropped drivers of a shard of motions."""
    return f"<results>/crop/driver/{range_of(wildcards.shard)}.parquet"


def training_crops(role, shards):
    """Return the crop tables that an animator is trained on; none if its settings name other clips."""
    if CONFIG.trained_animator is None or CONFIG.trained_animator.train.clips:
        return []
    return tables(f"<results>/crop/{role}/{{shard}}.parquet", shards=shards)


def animation_texts(*without):
    """Return the settings of an animation for params: its weights are an input, whatever made them."""
    elsewhere = ("train", "weights", "weights_sha256", "weights_url", "share", "quota")
    return key_texts_by(label_in, "animator", ANIMATORS, without=(*elsewhere, *without))


def animator_code(*stages):
    """Return an input function for the code digest of stages, and of the animator of a job."""

    def digest_of(wildcards):
        package, _, module = animator_of(wildcards).module.partition(".")
        if package == "deepfakemnist":
            return code_digest(*stages, module)
        return f"{code_digest(*stages)} {foreign_digest(f'{package}.{module}')}"

    return digest_of


def animator_weights(wildcards):
    """Return the weights of a job's animator, from the config or trained by the workflow; none if it has none."""
    animator = animator_of(wildcards)
    if animator.needs_training:
        return "<results>/animator/checkpoint.safetensors"
    weights = animator.weight_file
    if weights is None:
        return []
    # As for videos; downloaded weights are written by a job.
    given = animator.weights_url is None
    if PACKED and given:
        return f"<results>/animator/given/{animator.named}/{Path(weights).name}"
    # A folder has a time of its own; weights_version is that of its files.
    touched = Path(weights).is_dir() or INPUT_FILES.has_new_time(weights)
    return ancient(weights) if given and touched else weights


def weights_version(wildcards):
    """Return the sha256 of given weights, for params; empty for those that the run trains."""
    animator = animator_of(wildcards)
    if animator.weight_file is None:
        return ""
    return animator.weights_sha256 or INPUT_FILES.sha256_of_weights(
        animator.weight_files
    )


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


def software_of(wildcards):
    """Return what made the clips of a shard, for the marks of the fakes."""
    return "others, as released" if RUN_PLAN.released else animator_of(wildcards).name
