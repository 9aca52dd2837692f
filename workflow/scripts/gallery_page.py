from pathlib import Path

from deepfakemnist.report.gallery_page import GallerySettings, write_gallery_page
from deepfakemnist.report.gallery_tables import GalleryTables
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    given, params = snakemake.input, snakemake.params
    tables = GalleryTables(
        videos=Path(given.videos),
        ledger=Path(given.ledger),
        selected=[Path(path) for path in given.selected],
        judged=[Path(path) for path in given.judged],
        verdicts=[Path(path) for path in given.verdicts],
        sources=[Path(path) for path in given.sources],
        drivers=[Path(path) for path in given.drivers],
    )
    settings = GallerySettings(params.qualities, params.fps, params.megabytes, params.planned)
    write_gallery_page(tables, Path(snakemake.output.page), settings, [params.notice])
