"""One way in: what a path holds, decided by what is there."""

import shlex
from pathlib import Path

from minicnn.data.cifar import cifar_kind, cifar_splits, load_cifar10, load_cifar100
from minicnn.data.digits import load_digits
from minicnn.data.files import open_binary
from minicnn.data.image_folder import ImageFolder, has_images, image_splits
from minicnn.data.mnist import load_fashion_mnist, load_mnist, mnist_kind, mnist_splits
from minicnn.errors import DataError

__all__ = ["available_splits", "open_dataset"]

_LOADERS = {"cifar10": load_cifar10, "cifar100": load_cifar100, "mnist": load_mnist,
            "fashion_mnist": load_fashion_mnist}
_KNOWN = """'digits' (comes with minicnn); CIFAR in its binary version (data_batch_1.bin … or train.bin, or the \
.tar.gz); MNIST or Fashion-MNIST (train-images-idx3-ubyte …, with or without .gz); images in class folders \
(train/cat/0000.jpg or cat/0000.jpg), as a folder or a .zip"""


def open_dataset(spec, split=None):
    """The data set `spec`: "digits", or the path of a folder or archive, told apart by the files there.

    A folder that is itself called digits is opened as "./digits". Idx files in a folder whose name has "fashion" in it
    are Fashion-MNIST, others MNIST. split: one of available_splits(spec); None takes the only one there is. Raises
    DataError where nothing known is found (with what was looked for), where the split is missing, and for whatever is
    wrong with the files.
    """
    kind = _kind(spec)
    if kind == "images":
        return ImageFolder(spec, split)
    if split is None:
        raise DataError(f"{spec}: has the splits 'train' and 'test'; say which one to open")
    if kind == "digits":
        return load_digits(split)
    return _LOADERS[kind](spec, split)


def available_splits(spec):
    """The names of the splits of `spec`, for example ("train", "test"), or ("all",) for undivided images."""
    kind = _kind(spec)
    if kind == "digits":
        return ("train", "test")
    if kind == "images":
        return image_splits(spec)
    return cifar_splits(spec, kind) if kind.startswith("cifar") else mnist_splits(spec, kind)


def _kind(spec):
    """ "digits", "cifar10", "cifar100", "mnist", "fashion_mnist" or "images"."""
    if str(spec) == "digits":
        return "digits"
    path = Path(spec)
    if not path.exists():
        raise DataError(f"{spec}: there is no such file or folder; {_how_to_get(spec) or f'expected {_KNOWN}'}")
    if path.is_file():
        return _archive_kind(path)
    kind = mnist_kind(path) or cifar_kind(path)
    if kind:
        return kind
    if not has_images(path):
        raise DataError(f"{path}: holds no data set; {_how_to_get(spec) or f'looked for {_KNOWN}'}")
    return "images"


def _how_to_get(spec):
    """What to do where a data set that can be downloaded is asked for by its name or by a folder of that name, or None."""
    path = Path(spec)
    name = path.name.replace("_", "-").replace("cifar-", "cifar")
    if name.replace("-", "_") not in _LOADERS:
        return None
    folder = Path("data", name) if str(spec) == path.name else path
    out = "" if folder == Path("data", name) else f" --out {shlex.quote(str(folder))}"
    return f"run `minicnn data get {name}{out}`, then give the folder {folder}"


def _archive_kind(path):
    with open_binary(path) as file:
        head = file.read(512)
    if head.startswith(b"PK\x03\x04") or _has_zip_directory(path):
        return "images"
    if head[257:262] == b"ustar":
        kind = cifar_kind(path)
        if kind:
            return kind
    raise DataError(f"{path}: holds no data set; looked for {_KNOWN}")


def _has_zip_directory(path):
    """Whether a zip archive's directory ends the file, whatever begins it."""
    import zipfile
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:      # an archive of several parts
        return False
