"""Benchmarks: they measure the product beside its peers and write what they found into docs/benchmarks.md.

``python -m bench.ingest`` (``make bench-ingest``) is the ingestion: event files to published rollups. ``measure`` runs a
command and says what it took, ``product`` and ``peers`` are what is run, ``check`` proves that all of them counted the same,
``document`` writes the tables. Nothing here is needed to run the product.
"""
