"""A per-layer metric over depth: drawn as curves over training are."""

from paper_tables.figures.curves import draw

__all__ = ["draw"]
