"""What can go wrong in a benchmark."""


class BenchError(Exception):
    """The benchmark cannot go on, or a contestant gave a wrong result; nothing is written to the documentation."""
