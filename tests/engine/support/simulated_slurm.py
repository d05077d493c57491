"""Commands named like SLURM's, for what a real one does not do on demand: thousands that wait, silence, refusals."""

from __future__ import annotations

import os
from pathlib import Path

SBATCH = """#!/bin/sh
[ ! -e "$SIMULATED/refuse" ] || { cat "$SIMULATED/refuse" >&2; exit 1; }
n=$(($(cat "$SIMULATED/last" 2>/dev/null || echo 100) + 1))
echo $n > "$SIMULATED/last"
name=$(sed -n 's/^#SBATCH --job-name=//p' "$1" | tr -d "'")
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$1")
echo "$n $name ${last:-none}" >> "$SIMULATED/submitted"
echo "Submitted batch job $n"
"""
SQUEUE = """#!/bin/sh
date +%s.%N >> "$SIMULATED/asked"
[ ! -e "$SIMULATED/silent" ] || { echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }
[ -e "$SIMULATED/submitted" ] || exit 0
awk '$3 == "none" {print $1 "|" $2 "|PENDING||Priority"}
     $3 != "none" {for (i = 0; i <= $3; i++) print $1 "_" i "|" $2 "|PENDING||Priority"}' "$SIMULATED/submitted"
"""
SCONTROL = """#!/bin/sh
echo "MaxArraySize            = 1001"
"""


def install(folder: Path) -> dict[str, str]:
    """The variables that make these the commands: all submitted jobs wait for ever."""
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "squeue": SQUEUE, "scontrol": SCONTROL}.items():
        (folder / name).write_text(text)
    for name in ("srun", "scancel", "sacct"):
        (folder / name).write_text(f'#!/bin/sh\necho "$0 $@" >> "$SIMULATED/others"\nexit {int(name == "sacct")}\n')
    for file in folder.iterdir():
        file.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", "SIMULATED": str(folder)}
