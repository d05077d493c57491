"""Kill and suspend workers and drivers hundreds of times: ``python benchmarks/chaos.py [KILLS]``, 300 if not given.

The test suite does the same twenty times. Exit code 0: nothing was lost, doubled or different.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

if __name__ == "__main__":
    kills = sys.argv[1] if len(sys.argv) > 1 else "300"
    test = "tests/engine/execution/test_kill.py"
    command = [sys.executable, "-m", "pytest", "--timeout=0", test]
    sys.exit(subprocess.run(command, cwd=ROOT, env={**os.environ, "DYNVIT_KILLS": kills}).returncode)
