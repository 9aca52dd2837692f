"""Packed media (storage.media: packed): what jobs without a shared folder need, as declared inputs and outputs."""

from deepfakemnist.workflow.packed_media import archive_of

PACKED = CONFIG.storage.media == "packed"
#: Stage that makes the crops: with source selection, they are candidates until all of them are known.
CROPS = "candidates" if CONFIG.sources.select else "crop"


def packed(**named):
    """Return outputs or params that only a run with packed media has."""
    return named if PACKED else {}


def media_of(*tables):
    """Return an input function for the archives with the files that tables name; nothing unless media is packed.

    Args:
        tables: paths, lists of them, patterns with the rule's wildcards, or input functions.
    """
    if not PACKED:
        return []

    def archives(wildcards):
        found = [one(wildcards) if callable(one) else one for one in tables]
        paths = [
            path for one in found for path in ([one] if isinstance(one, str) else one)
        ]
        named = (archive_of(path.format(**wildcards), CROPS, job_of) for path in paths)
        return [path for path in dict.fromkeys(named) if path]

    return archives


def given_file(path):
    """Return a file that the config names as an input, which with packed media stays on this machine."""
    if path is None:
        return []
    return local(path) if PACKED else path


def job_of(stage, shard):
    """Return the table, below the results, of the job that made the files of a shard of extract_motion or animate."""
    if not CLIPS_PER_JOB:
        return f"{stage}/{shard}"
    if stage == "extract_motion":
        return f"gpu/{stage}/{look_up(shard, motion_jobs()[1])}"
    job = look_up_fakes(shard, 1)
    return f"gpu/{stage}/{job}" if job else None


def pictures():
    """Return the tables of frames, which training reads through the manifest; nothing unless media is packed."""
    if not PACKED:
        return {}
    return {
        "pictures_real": tables("<results>/frames/real/{shard}.parquet"),
        "pictures_fake": fake_tables("<results>/frames/fake/{shard}.parquet"),
    }


def encoded_media():
    """Return an input function for the archives of all encoded videos; nothing unless media is packed."""
    return media_of(
        tables("<results>/compress/real/{shard}.parquet"),
        fake_tables("<results>/compress/fake/{shard}.parquet"),
    )


def crop_media():
    """Return an input function for the archives of all crops; nothing unless media is packed."""
    return media_of(
        tables("<results>/crop/source/{shard}.parquet"), driver_tables("crop/driver")
    )


def packed_videos(wildcards):
    """Return the archive with the videos of a shard; nothing unless media is packed."""
    return f"<results>/videos/{wildcards.role}/{wildcards.shard}.tar" if PACKED else []


def video_paths(wildcards):
    """Return the paths that this archive may write, outside of the results."""
    return sorted(
        {
            row[name]
            for row in RUN_PLAN.rows(wildcards.role, wildcards.shard)
            for name in ("path", "annotation")
            if row.get(name)
        }
    )
