"""Report for ``snakemake --report``: self-contained HTML pages with tables, charts and clips."""
