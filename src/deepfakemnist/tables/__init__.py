"""Arrow schemas, atomic Parquet and TSV files, and the shard loop that maps one table to the next."""
