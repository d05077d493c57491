"""Profile what training each model of the studies costs; write studies/engine/planning/forecast/model_costs.json.

    python benchmarks/model_costs.py [--all]

Adds models that the file lacks (--all: profiles all again) and drops those that no study uses any more. `studies plan`
forecasts from it. Counts are deterministic, not timed: every machine gives the same.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from studies.engine.core.files import read_json
from studies.engine.planning.forecast import model_costs
from studies.engine.planning.forecast.gpus import find
from studies.engine.planning.forecast.model_costs import SHIPPED, ModelSpec
from studies.engine.planning.forecast.requirements import forecast
from studies.engine.planning.plan import make_plan
from studies.engine.storage.results_dir import Store
from studies.engine.study import parser as studyfile
from studies.engine.study import study_files

STUDIES = Path(__file__).parent.parent / "studies"


def wanted_models() -> dict[str, tuple[str, ModelSpec]]:
    """Return key -> study and scale that use the model, and the model."""
    found: dict[str, tuple[str, ModelSpec]] = {}
    shipped, model_costs.SHIPPED = model_costs.SHIPPED, Path("nothing")
    with tempfile.TemporaryDirectory() as empty:
        for file in sorted(STUDIES.glob("*.yaml")):
            study = studyfile.load(study_files.find(str(file)))
            for scale in study.scales or ("",):
                plan = make_plan(study, Store(Path(empty)), scale=scale)
                expected = forecast(plan.trials, study.task, Path(empty), find(None))
                for key, spec in (expected.unprofiled if expected else {}).items():
                    found.setdefault(key, (f"{study.name}@{scale}", spec))
    model_costs.SHIPPED = shipped
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="profile all models again")
    every = parser.parse_args().all
    from dynvit.profiling.training_cost import profile_training

    wanted = wanted_models()
    kept = {} if every else {key: value for key, value in (read_json(SHIPPED) or {}).items() if key in wanted}
    missing = [(key, *found) for key, found in wanted.items() if key not in kept]
    print(f"{len(wanted)} models, {len(missing)} to profile")
    for i, (key, where, spec) in enumerate(missing, 1):
        kept[key] = profile_training(spec.options, spec.size, spec.channels, spec.classes)
        print(f"{i:4}/{len(missing)}  {kept[key]['macs'] / 1e6:9.1f} M  {where}  {key}", flush=True)
        model_costs.write(SHIPPED, kept)
    model_costs.write(SHIPPED, kept)


if __name__ == "__main__":
    main()
