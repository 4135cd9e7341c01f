"""Tables that are queries to BigQuery: their rows become Parquet files beside the examples."""
