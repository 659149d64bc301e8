"""Zip archives (torch's and NumPy's) opened with suspicion: nothing is extracted, no entry may exceed what it says.

The standard library's zipfile decodes; what it leaves to the caller (bombs, duplicates, strange names) is checked here.
"""

import struct
import zipfile
import zlib

from minicnn.errors import CheckpointError
from minicnn.io.arrays import check_total_bytes, read_bytes

__all__ = ["open_archive", "read_entry"]

_MAX_DIRECTORY_BYTES = 4 * 2**20    # about 50,000 entries; zipfile takes 10 µs for each
_END_RECORD_BYTES, _LOCATOR_BYTES, _END_RECORD_64_BYTES = 22, 20, 56
_ENCRYPTED = 0x1
# All that zipfile raises on damaged archives; RuntimeError includes NotImplementedError
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, ValueError, OverflowError, EOFError, RuntimeError, OSError)


def open_archive(file, file_bytes):
    """The zipfile.ZipFile of an open binary file. Raises CheckpointError if it is damaged or hostile."""
    directory_bytes = _directory_bytes(file, file_bytes)
    if directory_bytes > _MAX_DIRECTORY_BYTES:
        raise CheckpointError(f"the zip directory claims {directory_bytes:,} bytes, more than "
                              f"{_MAX_DIRECTORY_BYTES:,}; this is not a file of weights")
    try:
        archive = zipfile.ZipFile(file)
    except _ZIP_ERRORS as error:
        raise CheckpointError(f"the zip archive is damaged or truncated ({error}); download or copy it again"
                              ) from error
    _check_entries(archive.infolist(), file_bytes)
    return archive


def read_entry(archive, name):
    """The bytes of one entry as a uint8 array, its checksum verified.

    A file saved under torch's set_crc32_options(False), which writes false checksums, is refused here as damaged.
    """
    entry = archive.getinfo(name)
    try:
        with archive.open(entry) as file:
            raw = read_bytes(file, entry.file_size)
            file.read(1)    # zipfile compares the checksum on reaching the end
    except CheckpointError:
        raise
    except _ZIP_ERRORS as error:
        raise CheckpointError(f"the zip entry {name[:80]!r} is damaged ({error}); download or copy the file again"
                              ) from error
    return raw


def _directory_bytes(file, file_bytes):
    """The size of the central directory, by the end record (APPNOTE.TXT 4.3.14 to 4.3.16); 0 if there is none."""
    tail_start = max(0, file_bytes - _END_RECORD_BYTES - _LOCATOR_BYTES - _END_RECORD_64_BYTES - 0xFFFF)
    file.seek(tail_start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END_RECORD_BYTES > len(tail):
        return 0
    record_64 = at - _LOCATOR_BYTES - _END_RECORD_64_BYTES
    if record_64 >= 0 and tail.startswith(b"PK\x06\x06", record_64):
        return struct.unpack_from("<Q", tail, record_64 + 40)[0]
    return struct.unpack_from("<I", tail, at + 12)[0]


def _check_entries(entries, file_bytes):
    names = set()
    for entry in entries:
        _check_entry(entry)
        if entry.filename in names:
            raise CheckpointError(f"duplicate zip entry {entry.filename[:80]!r}; the file is damaged or forged")
        names.add(entry.filename)
    stored_bytes = sum(entry.compress_size for entry in entries)
    if stored_bytes > file_bytes:
        raise CheckpointError(f"the zip entries claim {stored_bytes:,} bytes in a file of {file_bytes:,}; "
                              "it is truncated or forged; download or copy it again")
    check_total_bytes(sum(entry.file_size for entry in entries), file_bytes)


def _check_entry(entry):
    name = entry.filename
    if name.startswith("/") or "\\" in name or ":" in name.split("/")[0] or ".." in name.split("/"):
        raise CheckpointError(f"the zip entry name {name[:80]!r} leads out of the archive; the file is forged")
    if entry.flag_bits & _ENCRYPTED:
        raise CheckpointError(f"the zip entry {name[:80]!r} is encrypted; decrypt the file first")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise CheckpointError(f"the zip entry {name[:80]!r} is compressed by method {entry.compress_type}; "
                              "only 0 (stored) and 8 (deflated) are read")
    if entry.compress_type == zipfile.ZIP_STORED and entry.compress_size != entry.file_size:
        raise CheckpointError(f"the stored zip entry {name[:80]!r} claims {entry.compress_size:,} and "
                              f"{entry.file_size:,} bytes; the file is damaged")
