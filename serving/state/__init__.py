"""The state of the data that is served: publications, snapshots of them, and the one DuckDB that reads them."""
