"""The reason of a failed attempt in one line, and whether another attempt could help."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from studies.engine.runtime.outcome import describe_exception, is_permanent


def raised(source: str) -> BaseException:
    try:
        exec(compile(source, "task.py", "exec"), {})
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise ValueError('short')", "ValueError: short"),
        ("raise ValueError('first\\nadvice of many lines\\nmore')", "ValueError: first"),
        ("raise ValueError('\\n\\n  first\\nmore')", "ValueError: first"),
        ("raise RuntimeError('Error(s) in loading state_dict for Net:\\n\\tMissing key(s): \"a\".\\n\\tmore')",
         'RuntimeError: Error(s) in loading state_dict for Net: Missing key(s): "a".'),
        ("def read():\n raise EOFError\nread()", "EOFError in read (task.py:2)"),
        ("def f():\n assert 1 == 2\nf()", "AssertionError in f (task.py:2)"),
        ("{}['lr']", "KeyError: 'lr'"),
        ("raise MemoryError", "oom"),
        ("raise OSError(28, 'No space left on device')", "the disk is full: [Errno 28] No space left on device"),
        ("x = = 1", "SyntaxError: invalid syntax"),
        ("import json\njson.loads('')", "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
        ("class Bad(Exception):\n def __str__(self): return None + 1\nraise Bad", "Bad in <module> (task.py:3)"),
        ("raise ValueError('\\ud800 \\x1b[31mred\\0')", "ValueError: \\ud800 \\x1b[31mred\\x00"),
        ("raise ValueError('x' * 1000)", "ValueError: " + "x" * 288),
    ],
)  # fmt: skip
def test_the_first_line_that_says_something(source: str, reason: str) -> None:
    assert describe_exception(raised(source)) == reason


def test_the_advice_of_torch_is_not_the_reason(tmp_path: Path) -> None:
    """As torch.load words it: the cause first, then many lines of advice."""
    text = "Weights only load failed. Please file an issue.\n\n1. Set weights_only=False ...\n2. Read on"
    reason = describe_exception(raised(f"raise RuntimeError({json.dumps(text)})"))
    assert reason == "RuntimeError: Weights only load failed. Please file an issue."


@pytest.mark.parametrize(
    ("source", "permanent"),
    [
        ("open('/nowhere/data.bin')", True),
        ("import no_such_module", True),
        ("open('/')", True),
        ("open('/dev/null/x')", True),
        ("raise PermissionError(13, 'Permission denied', 'data.bin')", True),
        ("x = = 1", True),
        ("error = ValueError('no such option')\nerror.permanent = True\nraise error", True),
        ("[][1]", True),
        ("no_such_name", True),
        ("raise RuntimeError('mat1 and mat2 shapes cannot be multiplied (8x4 and 5x3)')", True),
        ("raise RuntimeError('The size of tensor a (3) must match the size of tensor b (4)')", True),
        ("raise ValueError('operands could not be broadcast together with shapes (2,) (3,)')", True),
        ("raise RuntimeError('CUDA error: unspecified launch failure')", False),
        ("raise FloatingPointError('the loss is nan')", False),
        ("raise ValueError('a loss that may differ next time')", False),
        ("raise OSError(5, 'Input/output error')", False),
        ("raise MemoryError", False),
        ("raise ConnectionError", False),
    ],
)
def test_what_another_attempt_cannot_heal(source: str, permanent: bool) -> None:
    assert is_permanent(raised(source)) is permanent
