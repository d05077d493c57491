"""What the papers argue, as measurements: pure functions of scores, flags and curves, one idea per file."""
