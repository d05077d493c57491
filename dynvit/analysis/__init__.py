"""Measurements behind the papers' claims: pure functions of scores, active tokens and curves, one per file."""
