from pathlib import Path

from deepfakemnist.report.cost import run_cost
from deepfakemnist.report.overview import contents, described_pages, funnel, made_with, ranking, read_ledger, warnings
from deepfakemnist.report.overview_page import write_overview
from deepfakemnist.tables.tsv import read_tsv
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    given, params = snakemake.input, snakemake.params
    videos, verdicts = Path(given.videos), [Path(path) for path in given.verdicts]
    found, ledger = contents(videos), read_ledger(Path(given.ledger))
    audit, findings = read_tsv(Path(given.audit)), read_tsv(Path(given.identities))
    cost = run_cost(Path(params.results), Path(params.benchmarks), params.gpus, verdicts)
    write_overview(
        Path(snakemake.output.overview),
        contents=found,
        steps=funnel(ledger, params.released),
        ranked=ranking(read_tsv(Path(given.metrics))),
        warnings=warnings(
            contents=found,
            ledger=ledger,
            actions=params.actions,
            findings=findings,
            audit=audit,
            quota=[row for path in given.quota for row in read_tsv(Path(path))],
            simulated=params.simulated,
            has_vendors=params.has_vendors,
        ),
        audit=audit,
        findings=findings,
        cost=cost,
        made_with=made_with(videos, params.run),
        pages=described_pages(given.pages),
        actions=params.actions,
        simulated=params.simulated,
        notices=[params.notice],
    )
