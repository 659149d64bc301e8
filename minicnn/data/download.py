"""Real data sets from where their authors publish them, each file checked against a SHA-256 that is pinned here.

The sums and sizes are those of TensorFlow Datasets (tensorflow_datasets/url_checksums/cifar10.txt, cifar100.txt, mnist.txt
and fashion_mnist.txt), a second party that has published and checked them for years.
"""

import contextlib
import hashlib
import http.client
import os
import shutil
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from minicnn.data.cifar import official_files
from minicnn.data.files import BoundedReader, open_binary, tar_files
from minicnn.data.open import open_dataset
from minicnn.errors import DataError

__all__ = ["SOURCES", "RemoteFile", "Source", "get"]

_TIMEOUT = 30           # seconds without a byte
_ATTEMPTS = 4           # at each address; each goes on where the one before broke off
_PIECE = 1 << 18
_UNPACKED_LIMIT = 200 << 20


@dataclass(frozen=True)
class RemoteFile:
    """A file as it is published: its name at the end of the address, its size in bytes, its SHA-256 in hexadecimal."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Source:
    """Where a data set is: addresses of folders, tried in order; its files; its images (to train, to test); who made it."""

    addresses: tuple
    files: tuple
    images: tuple
    citation: str


_KRIZHEVSKY = "A. Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images"
SOURCES = {
    "cifar10": Source(("https://www.cs.toronto.edu/~kriz/",), (
        RemoteFile("cifar-10-binary.tar.gz", 170052171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),),
        (50_000, 10_000), _KRIZHEVSKY),
    "cifar100": Source(("https://www.cs.toronto.edu/~kriz/",), (
        RemoteFile("cifar-100-binary.tar.gz", 168513733, "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"),),
        (50_000, 10_000), _KRIZHEVSKY),
    # yann.lecun.com no longer serves the files; the first is the Common Visual Data Foundation's copy, the second PyTorch's
    "mnist": Source(("https://storage.googleapis.com/cvdf-datasets/mnist/", "https://ossci-datasets.s3.amazonaws.com/mnist/"), (
        RemoteFile("train-images-idx3-ubyte.gz", 9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        RemoteFile("train-labels-idx1-ubyte.gz", 28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        RemoteFile("t10k-images-idx3-ubyte.gz", 1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        RemoteFile("t10k-labels-idx1-ubyte.gz", 4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6")),
        (60_000, 10_000), "Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits"),
    "fashion-mnist": Source(("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",), (
        RemoteFile("train-images-idx3-ubyte.gz", 26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        RemoteFile("train-labels-idx1-ubyte.gz", 29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        RemoteFile("t10k-images-idx3-ubyte.gz", 4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        RemoteFile("t10k-labels-idx1-ubyte.gz", 5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5")),
        (60_000, 10_000), "H. Xiao, K. Rasul, R. Vollgraf 2017, Fashion-MNIST"),
}


@contextlib.contextmanager
def _silent(what, total):
    yield lambda steps=1, note="": None


def get(name, folder, mirror=None, progress=_silent):
    """Download the data set `name` (a key of SOURCES) into `folder`, unless it is there; returns the folder as a Path.

    What an earlier download left is gone on with. mirror: the address of a folder that has the same files, in place of the
    official ones. progress(what, bytes): a context manager that gives advance(bytes). CIFAR's archives are unpacked: the
    binary files alone, by their base names, so that nothing in an archive can be written elsewhere.

    Raises DataError: no such data set, no connection, a file that is not the published one, no room on the disk.
    """
    if name not in SOURCES:
        raise DataError(f"there is no data set {name!r} to get; choose from {', '.join(SOURCES)}")
    source, folder = SOURCES[name], Path(folder)
    if is_complete(name, folder):
        return folder
    _make_room(folder, sum(file.size for file in source.files))
    for file in source.files:
        addresses = (mirror.rstrip("/") + "/",) if mirror else source.addresses
        _download(file, [address + file.name for address in addresses], folder, progress)
    if name.startswith("cifar"):
        _unpack(folder / source.files[0].name, folder, official_files(name))
    if not is_complete(name, folder):
        raise DataError(f"{folder}: the files are the published ones, but do not hold the {source.images} images of {name}; "
                        "this is a mistake of minicnn: please report it")
    return folder


def is_complete(name, folder):
    """Whether `folder` holds every image of the data set."""
    if not Path(folder).is_dir():
        return False
    try:
        found = tuple(open_dataset(folder, split) for split in ("train", "test"))
    except DataError:
        return False
    return tuple(map(len, found)) == SOURCES[name].images and found[0].name == name.replace("-", "_")


def _make_room(folder, packed):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise DataError(f"cannot create {folder}: {error.strerror}; choose another --out") from error
    if free < 2.5 * packed:     # the archive, and what is unpacked from it
        raise DataError(f"{folder}: {free / 1e6:,.0f} MB of disk are free and {2.5 * packed / 1e6:,.0f} MB are needed; free "
                        "some, or choose another --out")


def _download(file, urls, folder, progress):
    """`file` in `folder`, whole and checked; what is there already is not fetched again."""
    final, part = folder / file.name, folder / f".{file.name}.part"
    if final.is_file() and _sha256(final) == file.sha256:
        return
    if _size(part) > file.size:
        part.unlink()
    with progress(file.name, file.size) as advance:
        before = _size(part)
        advance(before)
        _fetch(file, urls, part, advance)
        if before and _sha256(part) != file.sha256:     # a power cut may have left anything in it: once more from the start
            advance(-file.size)
            part.unlink()
            _fetch(file, urls, part, advance)
    found = _sha256(part)
    if found != file.sha256:
        part.unlink()
        raise DataError(f"{file.name}: has the SHA-256 {found}, the published file has {file.sha256}; it is not what its "
                        "authors published and was deleted: try again later, or name another --mirror")
    os.replace(part, final)


def _fetch(file, urls, part, advance):
    """The bytes of `file` that are missing in `part`, from the first address that gives them."""
    errors = []
    for url in (url for url in urls for _ in range(_ATTEMPTS)):
        if _size(part) == file.size:
            return
        try:
            _fetch_rest(url, file.size, part, advance)
        except (OSError, http.client.HTTPException) as error:       # urllib's errors are OSErrors
            errors.append(f"{url}: {getattr(error, 'reason', None) or error}")
            time.sleep(_pause)
    if _size(part) != file.size:
        raise DataError(f"cannot get {file.name} ({errors[-1]}); check the connection and run the command again: it goes on "
                        f"after the {_size(part):,} of {file.size:,} bytes that are there; or name a place that has the same "
                        "files with --mirror URL")


_pause = 1.0            # seconds before another attempt


def _fetch_rest(url, size, part, advance):
    done = _size(part)
    headers = {"User-Agent": "minicnn", **({"Range": f"bytes={done}-"} if done else {})}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT) as response:
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {done}-")
        if not resumed:
            advance(-done)
            done = 0
        with open(part, "ab" if resumed else "wb", buffering=0) as file:
            while piece := response.read(_PIECE):
                done += len(piece)
                if done > size:
                    raise DataError(f"{url}: sends more than the {size:,} bytes of the published file; name another --mirror")
                _write(file, piece)
                advance(len(piece))
            _write(file, b"")
    if done < size:
        raise ConnectionError(f"the connection ended after {done:,} of {size:,} bytes")


def _write(file, content):
    """Append to an open file; with no content, flush it to the disk. What the disk refuses is not the network's mistake."""
    try:
        if content:
            file.write(content)
        else:
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DataError(f"cannot write {file.name}: {error.strerror}; free some disk, or choose another --out") from error


def _unpack(archive, folder, wanted):
    """The `wanted` files of a tar archive, each whole or not there; then the archive goes."""
    with open_binary(archive) as stream:
        for name, _, read in tar_files(BoundedReader(stream, _UNPACKED_LIMIT, archive), archive):
            base = PurePosixPath(name).name
            if base in wanted:
                part = folder / f".{base}.part"
                with open(part, "wb") as file:
                    _write(file, read())
                    _write(file, b"")
                os.replace(part, folder / base)
    archive.unlink()


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
