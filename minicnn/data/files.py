"""Reading files that may be damaged or hostile: never more bytes than expected, and every error names the file."""

import gzip
import zlib
from contextlib import contextmanager

from minicnn.errors import DataError

__all__ = ["BoundedReader", "open_binary", "read_rest"]

_GZIP_MAGIC = b"\x1f\x8b"


@contextmanager
def open_binary(path):
    """Open path for reading bytes, through gzip when its first bytes say so; failures become DataError."""
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            if not packed:
                yield raw
                return
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield unpacked
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the gzip data is damaged or cut short ({error}); download it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def read_rest(stream, expected, path, what):
    """The rest of a stream, which must be `expected` bytes; reads one byte more at most, so a bomb stays small."""
    data = stream.read(expected + 1)
    if len(data) != expected:
        found = f"{len(data):,} bytes" if len(data) < expected else f"more than {expected:,} bytes"
        raise DataError(f"{path}: {what} takes {expected:,} bytes, the file has {found}; "
                        "it is damaged or cut short: download it again")
    return data


class BoundedReader:
    """A stream that gives `limit` bytes and then raises DataError: what comes out of a gzip bomb stays bounded."""

    def __init__(self, stream, limit, path):
        self._stream, self._left, self._limit, self._path = stream, limit, limit, path

    def read(self, size):
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise DataError(f"{self._path}: unpacks to more than {self._limit:,} bytes, which none of the known "
                            "archives does; download it from its official site")
        return data
