"""Reading files that may be damaged or hostile: never more bytes than expected, and every error names the file."""

import gzip
import zlib
from contextlib import contextmanager

from minicnn.errors import DataError

__all__ = ["BoundedReader", "open_binary", "read_rest", "tar_files"]

_GZIP_MAGIC = b"\x1f\x8b"
_BLOCK = 512                    # of tar
_PIECE = 1 << 20


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


def tar_files(stream, path):
    """Iterate over the regular files of a tar archive in one pass: (name, size, read), read() -> the content, bytes.

    Format: POSIX 1003.1-1988 (ustar), which the official archives have. Entries of other kinds, extended headers too, are
    passed over in small pieces: the standard library's reader takes them into memory whatever size they declare. Raises
    DataError for headers that are none and for an archive that is cut short.
    """
    while True:
        header = stream.read(_BLOCK)
        if not header.strip(b"\0"):     # a block of zeros, or the end of the file
            return
        name, size = _tar_header(header, path)
        content = _TarContent(stream, size, path)
        if header[156:157] in (b"0", b"\0"):
            yield name, size, content.read
        content.skip()


def _tar_header(header, path):
    """(name, size) of a header block, whose sum of bytes must be what it says."""
    numbers = header[124:136].strip(b" \0"), header[148:156].strip(b" \0")
    if len(header) == _BLOCK and all(number.isdigit() and not number.strip(b"01234567") for number in numbers):
        size, total = (int(number, 8) for number in numbers)
        if total == sum(header[:148]) + 8 * ord(" ") + sum(header[156:]):
            return header[:100].partition(b"\0")[0].decode("utf-8", "replace"), size
    raise DataError(f"{path}: is not a readable tar archive (a header is damaged or of an unknown kind); download it again")


class _TarContent:
    """The bytes of one entry, in the stream of the archive."""

    def __init__(self, stream, size, path):
        self._stream, self._size, self._path = stream, size, path
        self._left = -(-size // _BLOCK) * _BLOCK

    def read(self):
        parts = list(self._pieces())
        return b"".join(parts)[: self._size]

    def skip(self):
        for _ in self._pieces():
            pass

    def _pieces(self):
        while self._left:
            piece = self._stream.read(min(self._left, _PIECE))
            if not piece:
                raise DataError(f"{self._path}: the tar archive is cut short; download it again")
            self._left -= len(piece)
            yield piece
