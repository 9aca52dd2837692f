"""Report for ``snakemake --report``: self-contained HTML pages, figures and contact sheets."""
