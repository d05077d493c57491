"""What training each model of the studies takes, counted and written to studies/engine/model_costs.json.

    python benchmarks/model_costs.py [--all]

Profiles what the file lacks, or everything with --all, and drops what no study needs any more.
`studies plan` forecasts from it. Deterministic counts, no timing: any machine gives the same.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from studies.engine.planning.forecast import model_costs
from studies.engine.planning.forecast.gpus import find
from studies.engine.planning.forecast.model_costs import SHIPPED, Load
from studies.engine.planning.forecast.requirements import reckon
from studies.engine.planning.plan import make_plan
from studies.engine.storage.trial_folder import Store, read_json
from studies.engine.study import parser as studyfile
from studies.engine.study import study_files

STUDIES = Path(__file__).parent.parent / "studies"


def loads() -> dict[str, tuple[str, Load]]:
    """Key -> study and scale that ask for it, and the model."""
    found: dict[str, tuple[str, Load]] = {}
    shipped, model_costs.SHIPPED = model_costs.SHIPPED, Path("nothing")
    with tempfile.TemporaryDirectory() as empty:
        for file in sorted(STUDIES.glob("*.yaml")):
            study = studyfile.load(study_files.find(str(file)))
            for scale in study.scales or ("",):
                plan = make_plan(study, Store(Path(empty)), scale=scale)
                reckoning = reckon(plan.trials, study.task, Path(empty), find(None))
                for key, load in (reckoning.uncounted if reckoning else {}).items():
                    found.setdefault(key, (f"{study.name}@{scale}", load))
    model_costs.SHIPPED = shipped
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="profile everything again")
    again = parser.parse_args().all
    from dynvit.profiling.training_cost import profile_training

    wanted = loads()
    kept = {} if again else {key: value for key, value in (read_json(SHIPPED) or {}).items() if key in wanted}
    missing = [(key, *model) for key, model in wanted.items() if key not in kept]
    print(f"{len(wanted)} models, {len(missing)} to count")
    for i, (key, where, load) in enumerate(missing, 1):
        kept[key] = profile_training(load.options, load.size, load.channels, load.classes)
        print(f"{i:4}/{len(missing)}  {kept[key]['macs'] / 1e6:9.1f} M  {where}  {key}", flush=True)
        model_costs.write(SHIPPED, kept)
    model_costs.write(SHIPPED, kept)


if __name__ == "__main__":
    main()
