"""What is said where own code does not register what a study names, or cannot be imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies.engine.core.errors import StudyError
from studies.engine.study import parser

STUDY = """study: mine
task: classify
{imports}seeds: [0]
base: {{model: {{name: ownnet}}, loss: {{name: poly1}}}}
metrics: {{far: {{from: last}}}}
"""
LOSS = """import dynvit
@dynvit.register_loss("other")
def other(logits, target):
    return logits.sum()
if __name__ == "__main__":
    @dynvit.register_loss("poly1")
    def poly1(logits, target):
        return logits.sum()
"""


def problems(folder: Path, imports: str = "", **files: str) -> str:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "mine.yaml").write_text(STUDY.format(imports=imports))
    with pytest.raises(StudyError) as caught:
        parser.load(folder / "mine.yaml")
    return str(caught.value)


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_imports(tmp_path: Path) -> None:
    text = problems(tmp_path)
    assert "no model ownnet; this study has no `imports:`" in text
    assert 'no loss "poly1": none is registered; this study has no `imports:`' in text
    assert "top5, epoch; this study has no `imports:`" in text


def test_what_each_entry_registers(tmp_path: Path) -> None:
    text = problems(tmp_path, "imports: [a.py, b]\n", a=LOSS, b="")
    assert "no model ownnet; a.py registers loss other; b registers nothing when it is imported" in text


def test_errors_name_files_from_the_current_folder(tmp_path: Path) -> None:
    text = problems(tmp_path, "imports: [a.py]\n", a="import b\n", b="\n1 / 0\n")
    assert "imports[0]: a.py, in b.py, line 2: ZeroDivisionError: division by zero" in text


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import os\nos.abort()\n", 'Aborted (File "a.py", line 2'),
        ("import os\nos._exit(3)\n", "exit code 3 (with own"),
    ],
)
def test_own_code_that_ends_the_process_is_named(tmp_path: Path, source: str, said: str) -> None:
    text = problems(tmp_path, "imports: [a.py]\n", a=source)
    assert said in text and "a.py" in text
