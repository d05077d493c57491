"""The end of a process that has imported much.

Python searches everything for garbage before it ends, several times: after an import of torch that takes a quarter of
what the import took, after one of MLflow and Ray half a second, and frees nothing that the end of the process does not.
"""

import atexit
import gc
import os
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
OURS = ("dynvit/", "studies/__", "studies/engine/", "paper_tables/", "tests/")
_process_is_ours = False


def skip_last_collections() -> None:
    """Call this early in a process of ours: what is registered with ``atexit`` later runs before.

    Where someone's own code was imported nothing is skipped: a file that it left open is written by such a collection.
    """
    global _process_is_ours
    _process_is_ours = True
    atexit.register(_keep_everything)


def set_imports_aside() -> None:
    """Take what is imported so far out of all later collections, before someone's own code is imported.

    That code is searched to the end, and what torch and timm consist of is not. In a process of ours, and once: what a
    notebook holds, or a trial before, may become garbage.
    """
    if _process_is_ours and not gc.get_freeze_count() and not _has_own_code():
        gc.collect()  # what is garbage already would stay
        gc.freeze()


def expect_own_code() -> None:
    """Skip nothing: code that is imported may be someone's own though it lies among installed packages."""
    atexit.unregister(_keep_everything)


def _keep_everything() -> None:
    if _has_own_code():
        return
    gc.freeze()
    if "triton" in sys.modules:  # its bindings would list on stderr what they think is leaked
        sys.stderr.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _has_own_code() -> bool:
    """Return whether a module comes from elsewhere than Python, installed packages and this one."""
    kinds = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")  # the last one: the command `studies` itself
    installed = [sysconfig.get_path(kind) for kind in kinds]
    known = (*(f"{folder}/" for folder in installed), *(f"{ROOT}/{ours}" for ours in OURS))
    files = [vars(module).get("__file__") for module in list(sys.modules.values()) if hasattr(module, "__dict__")]
    return any(isinstance(file, str) and not file.startswith(known) for file in files)
