from deepfakemnist.actors.bank import load_bank
from deepfakemnist.actors.cast import CastSettings, drivers, sources, write_shot
from deepfakemnist.tables.files import atomic_path
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    cast, bank = CastSettings(**snakemake.params.settings), load_bank()
    shots = {shot.name: shot for shot in [*sources(cast), *drivers(cast)]}
    for name in snakemake.params.names:
        write_shot(shots[name], cast, bank, cast.folder / shots[name].path)
    with atomic_path(snakemake.output.listing) as part:
        part.write_text("".join(f"{shots[name].path}\n" for name in snakemake.params.names), encoding="utf-8")
