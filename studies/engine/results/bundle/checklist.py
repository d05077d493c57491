"""The README of an export: contents, a reproducibility checklist filled in from the trials, how to repeat them."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from studies.engine.core.config import flat
from studies.engine.results.readings import Reading
from studies.engine.storage.own_snapshot import MANIFEST
from studies.engine.storage.plan_file import PlanFile

Readings = Mapping[str, Reading]
CONTENTS = {
    "study/": "the study file: arms, seeds, settings",
    "plan.json": "the arms and trials that follow from it",
    "decisions.json": "the looks at the claims: numbers of seeds, intervals, verdicts",
    "trials.csv": "one row per trial (also as parquet); the tables are made from nothing else",
    "curves.parquet": "every logged value: trial, metric, step, value",
    "predictions.npz": "every trial's predictions on the validation images",
    "maps/": "the tokens of a few test images, of one trial per arm; for figures",
    "results.json": "every mean with task, data set, unit, n and trials; every claim with its verdict",
    "ro-crate-metadata.json": "this zip as an RO-Crate, for archives",
    "trials/": "per trial: full config (spec.json), result, environment; a model card where weights were kept",
    "environments.json": "the distinct environments and how many trials ran in each",
    "code/": "the code the trials ran, by fingerprint; own-...: what the study imports",
    "paper_tables/": "the table file, and the claims",
    "tables/": "tables as LaTeX, Markdown, HTML and CSV",
    "figures/": "figures",
    "report.html": "tables and figures on one page",
    "reproducibility.md": "scope, methods, results, what was easy and difficult, compute",
}
OWN_CODE = """\
The first line puts the study's own code beside its file. Where the file names it in another folder, that name is to be
changed to the file's own."""


def readme(plan: PlanFile, readings: Readings, specs: Mapping[str, dict[str, Any]], files: Iterable[str]) -> str:
    """Return Markdown. A box is ticked only if the trials prove it."""
    names = list(files)
    contents = [f"- `{n}` {text}" for n, text in CONTENTS.items() if any(f.startswith(n) for f in names)]
    boxes = [f"- [{'x' if ok else ' '}] {text}" for ok, text in checks(plan, readings, specs, names)]
    tables = (n for n in names if n.startswith("paper_tables/") and not n.endswith("/claims.yaml"))
    table_file = next((f" --spec {shlex.quote(n)}" for n in tables), "")
    own = sorted({str(spec["own"]) for spec in specs.values() if spec.get("own")})
    return "\n".join(
        [
            f"# {plan.title or plan.full_name}",
            "",
            f"Study `{plan.study}`" + (f", scale `{plan.scale}`" if plan.scale else "") + ".",
            "",
            "## Contents",
            "",
            *contents,
            "",
            "## Reproducibility checklist",
            "",
            *boxes,
            "",
            "## To check",
            "",
            "    sha256sum -c SHA256SUMS",
            f"    python -m paper_tables --results .. {plan.full_name}{table_file}",
            "",
            "The second line renders tables and figures again from the frame. From outside, `python -m studies verify`",
            "with the zip reruns some of its trials and compares the numbers. It runs the code in the zip, so use",
            "it where you trust the zip's author; with `--own-code` it runs code and tasks of your installation only.",
            "",
            "## To repeat",
            "",
            *(f"    cp -r {copy}/. study/" for copy in own[:1]),
            f"    python -m studies run study/{plan.study}.yaml{options(plan)}",
            "",
            *([OWN_CODE, ""] if own else []),
        ]
    )


def options(plan: PlanFile) -> str:
    """Return scale, --smoke and overrides as typed, with a space before each."""
    scale = f" --scale {plan.scale}" if plan.scale else ""
    smoke = " --smoke" if plan.smoke else ""
    return scale + smoke + "".join(f" --set {shlex.quote(one)}" for one in plan.overrides)


def checks(
    plan: PlanFile, readings: Readings, specs: Mapping[str, dict[str, Any]], files: list[str]
) -> list[tuple[bool, str]]:
    """Return for each requirement whether it holds, and the facts."""
    done = [got for got in readings.values() if got.status == "done"]
    seeds = {arm: sorted(t.seed for t in plan.trials if (t.part, t.arm) == arm) for arm in _arms(plan)}
    distinct = {tuple(s) for s in seeds.values()}
    git = Counter(_git(got.env) for got in done)
    sources = {str(got.env.get("source") or "unknown") for got in done}
    kept = [source for source in sources if any(f.startswith(f"code/{source}/") for f in files)]
    own = {str(spec["own"]) for spec in specs.values() if spec.get("own")}
    copied = [copy for copy in own if f"{copy}/{MANIFEST}" in files]
    restarted = sum(got.state.attempt > 1 for got in done)
    statuses = Counter(got.status for got in readings.values())
    missing = ", ".join(f"{n} {status}" for status, n in sorted(statuses.items()) if status != "done")
    return [
        (
            not missing,
            f"Every planned trial is here: {len(done)} of {len(readings)} done" + f"{missing and ': '}{missing}",
        ),
        (len(distinct) == 1, f"Equal seeds in every arm: {'; '.join(_list(s) for s in sorted(distinct))}"),
        (len(next(iter(distinct), ())) >= 3, "At least three seeds, so that intervals can be given (Student t)"),
        (all(specs.get(name) for name in readings), f"Full config of every trial ({len(specs)} spec.json)"),
        (len(sources) == 1, f"One version of the code: {', '.join(sorted(sources)) or 'none'}"),
        (bool(sources) and len(kept) == len(sources), "That code is included"),
        *([(len(copied) == len(own) == 1, f"One version of own code, included: {_names(own)}")] if own else []),
        (len(git) == 1 and all(g and not g.endswith("+") for g in git), f"Clean commit: {_tally(git)}"),
        (all(got.env.get("packages") for got in done), f"Package versions recorded: {_packages(done)}"),
        (all(got.env for got in done), f"Hardware recorded: {_tally(Counter(_hardware(got.env) for got in done))}"),
        (True, f"Compute: {_compute(done)}"),
        (True, f"Data: {_data(specs.values())}"),
        (True, f"Trials that continued after an interruption or failure: {restarted}"),
    ]


def environments(readings: Readings) -> list[dict[str, Any]]:
    """Return the distinct environments without host, device and command, the most frequent first."""
    ignored = ("command", "host", "device")
    found = Counter(
        json.dumps({k: v for k, v in got.env.items() if k not in ignored}, sort_keys=True)
        for got in readings.values()
        if got.env
    )
    return [{"trials": n, **json.loads(env)} for env, n in sorted(found.items(), key=lambda item: (-item[1], item[0]))]


def _arms(plan: PlanFile) -> list[tuple[str, str]]:
    return list(dict.fromkeys((t.part, t.arm) for t in plan.trials))


def _git(env: Mapping[str, Any]) -> str:
    git = env.get("git") or {}
    return f"{git.get('sha') or ''}{'+' if git.get('dirty') else ''}" if isinstance(git, dict) else str(git)


def _hardware(env: Mapping[str, Any]) -> str:
    return str(env.get("gpu") or f"CPU, {env.get('platform') or 'platform unknown'}")


def _packages(done: Iterable[Reading]) -> str:
    versions: dict[str, set[str]] = {}
    for got in done:
        for name, version in {"python": got.env.get("python"), **(got.env.get("packages") or {})}.items():
            versions.setdefault(name, set()).add(str(version))
    return ", ".join(f"{name} {' and '.join(sorted(found))}" for name, found in versions.items()) or "none"


def _compute(done: Iterable[Reading]) -> str:
    costs = [got.result.get("cost") or {} for got in done]
    seconds, gpu = (sum(float(c.get(key) or 0) for c in costs) for key in ("seconds", "gpu_seconds"))
    return f"{seconds / 3600:.2f} hours of trials, {gpu / 3600:.2f} GPU-hours"


def _data(specs: Iterable[Mapping[str, Any]]) -> str:
    found = Counter(
        ", ".join(f"{k} {v}" for k, v in flat(spec.get("config", {}).get("data") or {}) if v not in (None, ""))
        for spec in specs
    )
    return _tally(found) if any(found) else "none named in the configs"


def _tally(found: Mapping[str, int]) -> str:
    parts = [f"{what or 'unknown'}" + (f" ({n} trials)" if len(found) > 1 else "") for what, n in sorted(found.items())]
    return "; ".join(parts) or "none"


def _names(copies: Iterable[str]) -> str:
    return ", ".join(sorted(copy.rpartition("-")[2] for copy in copies))


def _list(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, seeds))
