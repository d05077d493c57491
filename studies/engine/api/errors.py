"""Errors of the Python interface: a sentence, which a notebook shows without a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from studies.engine.core.errors import Problem, StudyError
from studies.engine.core.files import DamagedFile
from studies.engine.jobs.launcher import LaunchError
from studies.engine.results.bundle.open import CorruptBundle


class ResultsError(StudyError):
    """A name that is not there, results that are missing or damaged; the text says what would be right."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__([Problem("", text)])

    def __str__(self) -> str:
        return self.text

    def __reduce__(self) -> tuple[type[ResultsError], tuple[str]]:
        return ResultsError, (self.text,)


@contextmanager
def as_sentences() -> Iterator[None]:
    """Turn the errors that users meet, of table files, frames, exports, launchers and files, into `ResultsError`."""
    import click

    try:
        yield
    except StudyError:
        raise
    except click.ClickException as error:
        raise ResultsError(error.message) from None
    except (DamagedFile, LaunchError) as error:
        raise ResultsError(str(error)) from None
    except OSError as error:
        raise ResultsError(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from error
    except ValueError as error:
        from paper_tables.core.errors import TableError

        if not isinstance(error, TableError | CorruptBundle):
            raise
        raise ResultsError(str(error)) from None
