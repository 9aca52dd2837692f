"""What ``snakemake --report`` shows: self-contained pages, figures and a contact sheet."""
