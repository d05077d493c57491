"""Files on disk: atomic writes, tolerant reading of JSON, reproducible zip archives."""

from __future__ import annotations

import errno
import io
import json
import lzma
import os
import shutil
import stat
import struct
import time
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
ZIP_ERRORS = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error)
"""What zipfile raises on damage; of an unknown method a NotImplementedError, which is a RuntimeError."""
MAX_BYTES, MAX_DEPTH = 256 * 2**20, 50
"""Of a JSON file: what is larger or nested deeper was not written by this package."""


class DamagedFile(ValueError):
    """A file is there and is not what it should be; the text says what is wrong with it."""


def write_atomic(
    path: Path,
    data: bytes | str,
    durable: bool = True,
    commit: Callable[[], None] = lambda: None,
    exclusive: bool = False,
) -> None:
    """Replace a file so that a reader, or a kill at any moment, sees the old or the new content, never a part.

    A folder in its place is set aside. durable: also survive a power cut; costs a sync of the disk. commit: called last
    before the new content appears, and may raise. exclusive: FileExistsError where the file exists.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:6]}")
    try:
        with open(temporary, "wb") as f:
            f.write(data.encode() if isinstance(data, str) else data)
            if durable:
                f.flush()
                os.fsync(f.fileno())
        commit()
        if exclusive:
            link(temporary, path)
            temporary.unlink()
            return
        if path.is_dir():
            set_aside(path)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def link(file: Path, name: Path) -> None:
    """Give a file a second name at once; FileExistsError where there is such a file."""
    try:
        os.link(file, name)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise OSError(error.errno, "its file system has no hard links, which keep two workers apart") from error
        raise


def set_aside(path: Path) -> Path:
    """Rename what is damaged and return its new name."""
    aside = path.with_name(f"{path.name}.damaged.{time.time_ns() // 10**6}")
    os.rename(path, aside)
    return aside


def make_folder(path: Path) -> None:
    """Create a folder; a file in its place is set aside."""
    if os.path.lexists(path) and not path.is_dir():
        set_aside(path)
    path.mkdir(parents=True, exist_ok=True)


def remove(path: Path) -> None:
    """Remove a file, or a folder with its contents, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file for reading; OSError for a folder, a pipe or a device, without waiting for a writer."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def lines(path: Path, offset: int = 0) -> Iterator[bytes]:
    """Yield the lines after a byte offset, none where the file cannot be read; a very long one comes in pieces."""
    try:
        with open_regular(path) as f:
            f.seek(max(offset, 0))
            yield from iter(lambda: f.readline(2**20), b"")
    except OSError:
        return


def load_json(path: Path) -> dict[str, Any] | None:
    """Return the file's JSON object, or None where there is no file.

    Raises:
        DamagedFile: it cannot be read, or is not one JSON object of sensible size and depth.
    """
    try:
        with open_regular(path) as f:
            size = os.fstat(f.fileno()).st_size
            body = f.read(size) if size <= MAX_BYTES else b""  # reserving the most would cost more than reading
        value = json.loads(body)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DamagedFile(f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError):
        raise DamagedFile("is damaged") from None
    if (
        not isinstance(value, dict)
        or (body.count(b"{") + body.count(b"[") > MAX_DEPTH and not is_shallow(value))
        or (b"\\u" in body and not is_unicode(value))
    ):
        raise DamagedFile("is damaged")
    return value


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the file's JSON object, or None where the file is absent or damaged (killed writer, full disk)."""
    try:
        return load_json(path)
    except DamagedFile:
        return None


def is_shallow(value: Any) -> bool:
    """Return whether lists and mappings are nested at most MAX_DEPTH deep."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = (item for found in level for item in (found.values() if isinstance(found, dict) else found))
        level = [item for item in inner if isinstance(item, dict | list)]
        if not level:
            return True
    return False


def is_unicode(value: Any) -> bool:
    """Return whether every string can be printed: an escape may be half of a character."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def read_zip(path: Path) -> dict[str, bytes]:
    """Return the members of a small zip archive (.npz); empty where it is missing or damaged."""
    try:
        with open_regular(path) as f, zipfile.ZipFile(f) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                return {}
            return {name: archive.read(name) for name in archive.namelist()}
    except ZIP_ERRORS:
        return {}


def zip_bytes(files: Mapping[str, bytes], compresslevel: int = 9) -> bytes:
    """Return a zip archive that depends on names and contents only: sorted, without dates and owners."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in sorted(files.items()):
            entry = zipfile.ZipInfo(name, ZIP_EPOCH)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            archive.writestr(entry, data, compresslevel=compresslevel)
    return out.getvalue()


def modified(file: Path) -> float:
    """Return when it was last written, in seconds since 1970; 0 where it is not there."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0
