from pathlib import Path

from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.config.stages import AnimationQualitySettings, ReenactmentSettings
from deepfakemnist.reenactment.stage import reenact_shard
from deepfakemnist.workflow.script import device_of, input_path, max_failed_fraction, stage_script

with stage_script(snakemake):
    settings = animator_settings(snakemake.params.settings)
    reenact_shard(
        crops=Path(snakemake.input.crops),
        motions=Path(snakemake.input.motions),
        weights=input_path(snakemake, "weights"),
        table=Path(snakemake.output.table),
        settings=settings,
        quality=AnimationQualitySettings(**snakemake.params.quality),
        reenactment=ReenactmentSettings(**snakemake.params.reenactment),
        code=snakemake.params.code,
        max_failed_fraction=max_failed_fraction(snakemake),
        device=device_of(snakemake) if settings.may_use_gpu else "cpu",
    )
