"""`run --until decided`: seeds only for the arms of undecided claims, whatever kills the driver."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import golden_text
import growing
import pandas as pd
import pytest

from paper_tables.claims.judge import judge_claim
from paper_tables.data.load import tidy_frame
from paper_tables.data.other_studies import StudyFrames
from paper_tables.schema.table_file import read_table_file
from studies.engine.cli import main
from studies.engine.cli.rule_record import merged
from studies.engine.results.collect import collect
from studies.engine.results.looks_taken import seeds_seen
from studies.engine.storage.plan_file import ChangedRule, PlannedDecide, read_plan
from studies.engine.storage.results_dir import Store
from studies.engine.study.decide import Decide, look_seeds

ROOT = Path(__file__).parents[3]
RUN = ("run", "growing.yaml", "--on", "inline")
LOOKS = (*RUN, "--until", "decided")
Studies = Callable[..., tuple[int, str]]


@pytest.fixture
def studies(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Studies:
    monkeypatch.setattr("studies.engine.tracking.mirror.Mirror.update", lambda self: True)
    monkeypatch.setattr("studies.engine.tracking.mirror.Mirror.close", lambda self: True)
    rendered = "studies.engine.cli.finish_run.render"
    monkeypatch.setattr(rendered, lambda store, folder, say: collect(store, folder) and {})
    monkeypatch.chdir(tmp_path)
    growing.write(tmp_path)

    def type_(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["studies", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main()
        read = capsys.readouterr()
        return int(ended.value.code or 0), read.out + read.err

    return type_


def seeds(results: Path) -> dict[tuple[str, str], int]:
    """Return how many trials of each arm the plan has."""
    return dict(Counter((trial.part, trial.arm) for trial in read_plan(results / "growing").trials))


def without_times(text: str) -> str:
    """What differs between runs is left out, and stands as TIME where it is a time."""
    other = "done +[0-9a-f]{12} |mlflow|results "
    kept = "".join(line for line in text.splitlines(keepends=True) if not re.match(other, line))
    kept = re.sub(r" \(\S+ (minutes|hours) more\)", "", kept)
    return re.sub(r"\d[\d.e-]* (s|min)\b", "TIME", kept)


# ---- which seeds


def test_seeds_go_only_where_they_are_needed(tmp_path: Path, studies: Studies) -> None:
    plan = studies("plan", "growing.yaml")[1]
    code, said = studies(*LOOKS)
    assert code == 0
    status, after = studies("status", "growing")[1], studies("plan", "growing.yaml")[1]
    golden_text.same("until_decided.txt", without_times(plan + said + status + after))
    assert seeds(tmp_path / "results") == growing.SEEDS
    trials = {path.name for path in (tmp_path / "results" / "trials").iterdir()}
    assert len(trials) == sum(growing.SEEDS.values()) + 3  # of the first trials of `tuned`, beyond what `middle` needed


def test_what_looks_added_is_not_forgotten(tmp_path: Path, studies: Studies) -> None:
    results = tmp_path / "results"
    studies(*LOOKS)
    before = growing.outcome(results)
    trials = sorted(path.name for path in (results / "trials").iterdir())
    for words in (RUN, LOOKS):
        code, said = studies(*words)
        assert code == 0
        assert "nothing to run" in said
    assert growing.outcome(results) == before
    assert sorted(path.name for path in (results / "trials").iterdir()) == trials
    assert studies("export", "growing")[0] == 0
    code, said = studies("verify", "results/growing/growing.zip", "--trial", _trial(results, "tuned", "baseline", 7))
    assert (code, "1 of 1 trials agree (24 in the bundle)" in said) == (0, True), said


def _trial(results: Path, part: str, arm: str, seed: int) -> str:
    found = read_plan(results / "growing").trials
    return next(t.folder for t in found if (t.part, t.arm, t.seed) == (part, arm, seed))


def test_a_claim_of_another_study_is_decided_where_its_arms_are(tmp_path: Path, studies: Studies) -> None:
    studies(*LOOKS)
    claim = read_table_file(tmp_path / "paper_tables" / "other.yaml")[0].claims[0]
    other = tidy_frame(pd.DataFrame(), pd.DataFrame(), {"study": "other"})
    tested = judge_claim(claim, StudyFrames(tmp_path / "results" / "other", other)).tested[0]
    assert (tested.verdict, tested.look, tested.n) == ("reproduced", "2 of 3", 5)


def test_seeds_beyond_the_list_are_named_and_kept(tmp_path: Path, studies: Studies) -> None:
    code, said = studies(*RUN, "--seeds", "1,9", "--only", "models.noise=0.5")
    assert code == 0
    assert "seeds     9: beyond the study's list 0, 1, 2; later plans keep them" in said
    file = tmp_path / "results" / "growing" / "plan.json"
    assert read_plan(file.parent).further_seeds == (9,)
    studies(*RUN)
    assert seeds(tmp_path / "results") == dict.fromkeys(growing.SEEDS, 3) | {("models", "noise=0.5"): 4}
    text = (tmp_path / "growing.yaml").read_text()
    (tmp_path / "growing.yaml").write_text(text.replace("[0.5, 1, 2]", "[0.6, 1, 2]"))
    studies(*RUN)
    assert set(seeds(tmp_path / "results").values()) == {3}  # the arm is another one: nothing of it has a seed 9


def test_the_seeds_of_a_look() -> None:
    assert look_seeds((0, 1, 2), 5) == (0, 1, 2, 3, 4)
    assert look_seeds((7, 1, 0), 6) == (0, 1, 7, 2, 3, 4)
    assert look_seeds((0, 1, 2, 3), 3) == (0, 1, 2)


# ---- when it ends


def test_no_look_begins_that_exceeds_max_hours(tmp_path: Path, studies: Studies) -> None:
    file = tmp_path / "growing.yaml"
    file.write_text(file.read_text().replace("[3, 5, 8]", "[3, 5, 8], max_hours: 1e-9"))
    code, said = studies(*LOOKS)
    assert code == 0
    assert "stopped   max_hours 1e-09: " in said
    assert "a look at n = 5 takes about " in said
    assert set(seeds(tmp_path / "results").values()) == {3}


def test_only_leaves_out_arms_that_claims_need(tmp_path: Path, studies: Studies) -> None:
    studies(*RUN)
    code, said = studies(*LOOKS, "--only", "models.noise=1")
    assert code == 0
    assert "stopped   --only leaves out the arms that undecided claims need" in said
    code, said = studies(*LOOKS, "--only", "part=models")
    assert seeds(tmp_path / "results") == growing.SEEDS | {("tuned", "baseline"): 3}, said
    assert studies(*LOOKS)[0] == 0
    assert seeds(tmp_path / "results") == growing.SEEDS


def test_a_trial_that_failed_at_a_look_is_not_tried_at_the_next(tmp_path: Path, studies: Studies) -> None:
    file, results = tmp_path / "growing.yaml", tmp_path / "results"
    text = file.read_text()
    file.write_text(text.replace("[3, 5, 8]", "[3, 5, 8], max_hours: 1e-9"))
    assert "look      2 of 3" not in studies(*LOOKS)[1]
    failed = Store(results).trial(_trial(results, "tuned", "baseline", 1))
    failed.result_file.unlink()
    failed.set_state(replace(failed.state(), status="failed", reason="diverged"))
    file.write_text(text)
    code, said = studies(*LOOKS)
    assert (code, failed.state().attempt) == (1, 1)
    assert "look      2 of 3, n = 5: 6 trials" in said
    assert studies(*RUN)[0] == 0
    assert failed.state().attempt == 2


def test_an_arm_of_which_every_trial_fails_is_lost_not_forgotten(tmp_path: Path, studies: Studies) -> None:
    file = tmp_path / "growing.yaml"
    file.write_text(file.read_text().replace("train.noise: 4}", "train.noise: 4, fault: {kind: raise}}"))
    code, said = studies(*LOOKS)
    assert code == 1
    assert "lost          late: —, n = 0; 3 of 3 trials of tuned baseline failed or diverged" in said
    assert "verdicts  3 decided, 1 futile (hopeless), 1 lost (late)" in said, said
    assert seeds(tmp_path / "results")["tuned", "baseline"] == 3


REFUSED = {
    "a study without looks": ("other.yaml",),
    "a scale without looks": ("scaled.yaml", "--scale", "small"),
    "seeds": ("growing.yaml", "--seeds", "0,1"),
    "smoke": ("growing.yaml", "--smoke"),
    "rerun": ("growing.yaml", "--rerun", "failed"),
    "a word": ("growing.yaml", "--until", "decide"),
    "a table file": ("wrong.yaml",),
}


def test_what_is_refused(tmp_path: Path, studies: Studies) -> None:
    text = (tmp_path / "growing.yaml").read_text()
    looks = "decide: {looks: [3, 5, 8]}\n"
    (tmp_path / "other.yaml").write_text(text.replace(looks, "").replace("growing", "other"))
    scales = f"scales: {{small: {{}}, large: {{{looks.strip()}}}}}\ndefault_scale: small\n"
    (tmp_path / "scaled.yaml").write_text(text.replace(looks, scales).replace("growing", "scaled"))
    (tmp_path / "wrong.yaml").write_text(text.replace("growing", "wrong"))
    tables = growing.TABLES.replace("growing", "wrong").replace("at_least: 3}", "at_lest: 3}")
    (tmp_path / "paper_tables" / "wrong.yaml").write_text(tables)
    found = []
    for name, words in REFUSED.items():
        code, said = studies("run", *words[:1], "--on", "inline", "--until", "decided", *words[1:])
        assert code == 2, said
        found.append(f"## {name}\n{said}")
    golden_text.same("until_decided_refused.txt", "\n".join(found).replace(f"{tmp_path}/", ""))
    assert not list(tmp_path.glob("results/trials/*"))


# ---- rules


def test_rules_are_kept_from_before_the_first_trial() -> None:
    decide, early = Decide((3, 5)), {"a": "1", "b": "2"}
    first = merged(decide, None, early, 0)
    assert first == PlannedDecide((3, 5), 0.05, None, early, {})
    assert merged(decide, first, {"a": "3", "b": "2"}, 0).rules == {"a": "3", "b": "2"}  # nothing has been seen yet
    later = merged(decide, first, {"a": "3", "b": "2", "c": "4"}, 3)
    assert later.rules == early
    assert later.changed == {"a": ChangedRule("3", 3), "c": ChangedRule("4", 3)}
    assert merged(decide, later, {"a": "3", "b": "2", "c": "5"}, 5).changed == {
        "a": ChangedRule("3", 3),
        "c": ChangedRule("5", 5),
    }
    without = merged(decide, later, early, 5)
    assert without.changed == {"c": ChangedRule("4", 3)}  # gone from the table file, and remembered
    assert merged(decide, without, {**early, "c": "4"}, 8).changed == without.changed


def test_a_run_without_its_table_file_forgets_no_rule(tmp_path: Path, studies: Studies) -> None:
    """As after `run --spec`: the tables are those of that file still, and so are the rules."""
    own = tmp_path / "elsewhere" / "own.yaml"
    own.parent.mkdir()
    own.write_text(growing.TABLES)
    (tmp_path / "paper_tables" / "growing.yaml").unlink()
    record = tmp_path / "results" / "growing" / "tables" / ".rendered.json"
    studies(*RUN, "--spec", str(own))
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps({"spec": str(own)}))
    rule = "{metric: distance, of: {part: models, noise: 1}, at_least: 2}"
    own.write_text(
        growing.TABLES + "  - {name: after, text: t, paper: none, kind: sampled, conditions: [" + rule + "]}\n"
    )
    for words in ((*RUN, "--spec", str(own)), RUN):
        assert studies(*words)[0] == 0
        changed = read_plan(tmp_path / "results" / "growing").decide.changed  # type: ignore[union-attr]
        assert changed["after"].n == 3, words
    own.unlink()
    assert studies(*RUN)[0] == 0


def test_looks_that_are_others_now(tmp_path: Path, studies: Studies) -> None:
    studies(*LOOKS)
    file = tmp_path / "growing.yaml"
    file.write_text(file.read_text().replace("[3, 5, 8]", "[3]"))
    for words in (("plan", "growing.yaml"), LOOKS):
        code, said = studies(*words)
        assert code == 0, said
    assert "look 3, n = 8: " in studies("status", "growing")[1]


def test_a_plan_counts_the_arms_of_controls_and_of_new_claims(tmp_path: Path, studies: Studies) -> None:
    file, tables = tmp_path / "growing.yaml", tmp_path / "paper_tables" / "growing.yaml"
    (tmp_path / "paper_tables" / "other.yaml").unlink()
    middle = next(part for part in growing.TABLES.split("  - ") if "name: middle" in part)
    controlled = middle.replace("3.4}", "3.4, controls: [{label: noisy, of: {part: models, noise: 0.5}}]}")
    tables.write_text(f"study: growing\nclaims:\n  - {controlled}")
    text = file.read_text()
    file.write_text(text.replace("[3, 5, 8]", "[3, 5, 8], max_hours: 1e-9"))
    studies(*LOOKS)
    for claims, arms in ((controlled, 2), (f"{controlled}  - {middle.replace('middle', 'new')}", 5)):
        tables.write_text(f"study: growing\nclaims:\n  - {claims}")
        plan = studies("plan", "growing.yaml")[1]
        assert f"n = 5: at most {2 * arms} trials" in plan, plan  # of all arms where a claim is new
    file.write_text(text)
    assert "look      2 of 3, n = 5: 4 trials" in studies(*LOOKS)[1]


def test_a_rule_is_changed_after_the_seeds_of_the_last_look(tmp_path: Path) -> None:
    """Not after those that other arms have beside it."""
    assert seeds_seen(tmp_path) == 0
    looks = [{"look": 1, "n": 3}, {"look": 2, "n": 5}, {"look": 2, "n": 4}]
    (tmp_path / "decisions.json").write_text(json.dumps({"version": 1, "history": looks}))
    assert seeds_seen(tmp_path) == 5


# ---- kills

DYING = """
import os, signal, sys
from studies.engine.cli import finish_run, main
from studies.engine.tracking.mirror import Mirror
from paper_tables.claims import looks
finish_run.render = lambda store, folder, say: None
Mirror.update = Mirror.close = lambda self: True
when, at = sys.argv.pop(1), int(sys.argv.pop(1))
take = looks.take_look

def take_and_die(folder, spec, n):
    if (when, at) == ("before", n):
        os.kill(os.getpid(), signal.SIGKILL)
    report = take(folder, spec, n)
    if (when, at) == ("after", n):
        os.kill(os.getpid(), signal.SIGKILL)
    return report

looks.take_look = take_and_die
if when == "inside":
    from studies.engine.storage.trial_folder import TrialFolder
    create, count = TrialFolder.create, 0
    def create_and_die(self, spec):
        global count
        count += 1
        if count > at:
            os.kill(os.getpid(), signal.SIGKILL)
        return create(self, spec)
    TrialFolder.create = create_and_die
main.main()
"""
KILLS = ("inside 4", "before 3", "after 3", "inside 2", "after 5", "no 0")


def test_killed_between_and_inside_looks(tmp_path: Path, studies: Studies) -> None:
    studies(*LOOKS)
    undisturbed = growing.outcome(tmp_path / "results")
    shutil.rmtree(tmp_path / "results")
    for kill in KILLS:
        words = ["-c", DYING, *kill.split(), "run", "growing.yaml", "--on", "local", "--until", "decided"]
        made = subprocess.run(
            [sys.executable, *words],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == (0 if kill == "no 0" else -9), made.stdout + made.stderr
    assert growing.outcome(tmp_path / "results") == undisturbed
