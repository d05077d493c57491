"""Results and plans in Python and in notebooks; ``studies.open`` and ``studies.plan`` lead here."""
