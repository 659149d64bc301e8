"""Writing a file so that a crash, a full disk or an interrupt leaves either the old file or the new one, whole."""

import contextlib
import os
import secrets
import shutil
from pathlib import Path

from minicnn.errors import CheckpointError

__all__ = ["atomic_write", "sync_folder"]


@contextlib.contextmanager
def atomic_write(path):
    """A binary file object whose content becomes `path` when the `with` block ends well.

    The bytes go to a temporary file in the same folder, are flushed to the disk and then renamed over `path`; if the
    block raises, the temporary file is removed and what was at `path` stays. A symbolic link is followed; the mode of
    an existing file is kept.

    Raises CheckpointError if the folder is missing, `path` is not a file, or the disk refuses (any OSError, also one
    raised inside the block).
    """
    target = Path(os.path.realpath(path))
    _check_target(target, path)
    temporary = target.with_name(f".{target.name[:50]}.{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}; what was there is untouched; "
                              "free some space or choose another folder") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def _check_target(target, path):
    if not target.parent.is_dir():
        raise CheckpointError(f"cannot write {path}: the folder {target.parent} does not exist; create it first")
    if target.is_dir():
        raise CheckpointError(f"cannot write {path}: it is a folder; add a file name")
    if target.exists() and not target.is_file():
        raise CheckpointError(f"cannot write {path}: it is a device or pipe, which a file must not replace; "
                              "choose another name")


def sync_folder(folder):
    """Makes the rename itself survive a power cut, where the file system can."""
    if os.name == "nt":
        return
    # Some network file systems cannot sync a folder; the file is whole there all the same.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
