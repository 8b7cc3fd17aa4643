"""The local copy of the counts: files of sorted cells, which one process of a host builds in the background."""
