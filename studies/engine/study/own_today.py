"""The own code that a planned study names now. The study is not checked, and nothing is imported: files are read."""

from __future__ import annotations

from pathlib import Path

from studies.engine.catalog import own_code
from studies.engine.core import yaml_loader
from studies.engine.core.own_code import OwnCode
from studies.engine.core.typing_check import Issue, validate
from studies.engine.runtime.task_loader import is_packaged
from studies.engine.storage.plan_file import PlanFile
from studies.engine.study import study_files


def own_today(plan: PlanFile) -> OwnCode | None:
    """Return the code, a task's file among it; None where there is none, or where study or code cannot be read as they
    are at the moment."""
    file = Path(plan.study_path) if plan.study_path else study_files.PACKAGE / plan.study_file
    raw, issues, problems = yaml_loader.read(file).value, list[Issue](), dict[int, str]()
    if not isinstance(raw, dict):
        return None
    imports = validate(tuple[str, ...], raw.get("imports", []), issues)
    task, folder = validate(str, raw.get("task"), issues), file.resolve().parent
    if issues:
        return None
    own = own_code.find(imports, folder, problems)
    try:
        path = None if is_packaged(task) else (folder / task).resolve()
        own = own if path is None else own_code.with_task(own, path, folder)
    except own_code.ImportProblem:
        return None
    return None if problems else own
