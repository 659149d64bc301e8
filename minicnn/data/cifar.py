"""CIFAR-10 and CIFAR-100 in their binary version, from a folder or straight from the official .tar.gz.

Format: A. Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html: records of one label byte (CIFAR-100: coarse,
then fine) and 3,072 pixel bytes, the red, green and blue planes of 32x32. The "python version" is refused: it is made
of pickles, and unpickling runs whatever code a file contains.
"""

from pathlib import Path, PurePosixPath

import numpy as np

from minicnn.data.dataset import ArrayDataset
from minicnn.data.files import BoundedReader, open_binary, tar_files
from minicnn.errors import DataError

__all__ = ["CIFAR10_CLASSES", "CIFAR10_MEAN", "CIFAR10_STD", "cifar_kind", "cifar_splits", "load_cifar10",
           "load_cifar100"]

CIFAR10_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CIFAR100_CLASSES = [
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish",
    "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
    "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange",
    "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine",
    "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
    "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
    "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
    "willow_tree", "wolf", "woman", "worm",
]

# Over all pixels of the training images, as commonly published; (0.2023, 0.1994, 0.2010), which also circulates as the
# std of CIFAR-10, is the mean of the standard deviations of the single images.
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
_CIFAR100_MEAN, _CIFAR100_STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)

_FILES = {
    ("cifar10", "train"): [f"data_batch_{i}.bin" for i in range(1, 6)],
    ("cifar10", "test"): ["test_batch.bin"],
    ("cifar100", "train"): ["train.bin"],
    ("cifar100", "test"): ["test.bin"],
}
_FOLDER = {"cifar10": "cifar-10-batches-bin", "cifar100": "cifar-100-binary"}
_PICKLE_FOLDERS = ("cifar-10-batches-py", "cifar-100-python")
_ARCHIVE_LIMIT = 200 << 20      # the official archives unpack to 184 million bytes
_MAX_RECORDS = 50_000
_MAX_FILE_BYTES = _MAX_RECORDS * 3074


def load_cifar10(path, split="train"):
    """CIFAR-10 (binary version): uint8 (32, 32, 3), 50,000 to train ("train") and 10,000 to test ("test").

    path: the folder with data_batch_1.bin … test_batch.bin, its parent, or cifar-10-binary.tar.gz. Fewer images than
    the official ones are accepted in whole records. Raises DataError for missing, empty, cut or oversized files, for
    labels outside 0..9, and for the python version, naming the file.
    """
    return _load(path, split, "cifar10", CIFAR10_CLASSES, CIFAR10_MEAN, CIFAR10_STD)


def load_cifar100(path, split="train"):
    """CIFAR-100 (binary version) with its 100 fine labels, from train.bin and test.bin; else as load_cifar10."""
    return _load(path, split, "cifar100", CIFAR100_CLASSES, _CIFAR100_MEAN, _CIFAR100_STD)


def cifar_kind(path):
    """ "cifar10", "cifar100", or None: what a folder or tar archive holds. DataError for the python version."""
    names = _names(Path(path))
    kinds = [kind for kind in _FOLDER if names & {*_FILES[kind, "train"], *_FILES[kind, "test"]}]
    if len(kinds) == 2:
        raise DataError(f"{path}: has both CIFAR-10 and CIFAR-100; give the path of one of their folders")
    if kinds:
        return kinds[0]
    if names & {"data_batch_1", "test_batch", "batches.meta"} or {"train", "test", "meta"} <= names:
        raise _pickle_error(path)
    return None


def official_files(kind):
    """The names of the binary files that the official archive of `kind` has."""
    return {name for split in ("train", "test") for name in _FILES[kind, split]}


def cifar_splits(path, kind):
    """The splits of which the folder or archive `path` has a file."""
    names = _names(Path(path))
    return tuple(split for split in ("train", "test") if any(file in names for file in _FILES[kind, split]))


def _load(path, split, kind, classes, mean, std):
    if split not in ("train", "test"):
        raise DataError(f"{kind}: there is no split {split!r}; choose from 'train', 'test'")
    path, wanted = Path(path), _FILES[kind, split]
    found = _archive_members(path, wanted) if path.is_file() else _folder_files(path, wanted)
    missing = [file for file in wanted if found.get(file) is None]
    if missing:
        cifar_kind(path)        # says so where it is the python version
        raise DataError(f"{path}: has no {', '.join(missing)}, neither in it nor in {_FOLDER[kind]}/; "
                        f"get the binary version with `minicnn data get {kind}`, or from https://www.cs.toronto.edu/~kriz/cifar.html")
    parts = [_parse(found[file], f"{path}: {file}", kind, len(classes)) for file in wanted]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts))
    return ArrayDataset(images, labels, classes, name=kind, mean=mean, std=std, splits=("train", "test"))


def _parse(data, file, kind, classes):
    """Images (N, 32, 32, 3) and labels (N,) of one file's bytes."""
    label_bytes = 1 if kind == "cifar10" else 2
    record = label_bytes + 3072
    if not data or len(data) % record or len(data) > _MAX_RECORDS * record:
        raise DataError(f"{file}: has {len(data):,} bytes, not 1 to {_MAX_RECORDS:,} records of {record:,} bytes; "
                        "it is empty, cut short or another kind of file: download it again")
    table = np.frombuffer(data, np.uint8).reshape(-1, record)
    labels = table[:, label_bytes - 1]
    if labels.max() >= classes:
        i = int(labels.argmax())
        raise DataError(f"{file}: label {labels[i]} of record {i} is outside 0..{classes - 1}; "
                        "the file is damaged or is another data set")
    return table[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


def _names(path):
    if path.is_file():
        return set(_archive_members(path, wanted=()))
    return {file.name for folder in _folders(path) for file in folder.iterdir()}


def _folders(path):
    folders = [path, *(path / name for name in (*_FOLDER.values(), *_PICKLE_FOLDERS))]
    return [folder for folder in folders if folder.is_dir()]


def _folder_files(path, wanted):
    found = {}
    for folder in _folders(path):
        for name in wanted:
            if name not in found and (folder / name).is_file():
                with open_binary(folder / name) as stream:
                    found[name] = stream.read(_MAX_FILE_BYTES + 1)
    return found


def _archive_members(path, wanted):
    """{base name: bytes where wanted, else None} of the regular files of a tar archive, read in one bounded pass."""
    found = {}
    with open_binary(path) as stream:
        for name, size, read in tar_files(BoundedReader(stream, _ARCHIVE_LIMIT, path), path):
            if size <= _MAX_FILE_BYTES:
                base = PurePosixPath(name).name
                found[base] = read() if base in wanted else None
    return found


def _pickle_error(path):
    return DataError(f"{path}: is the python version of CIFAR, made of pickles, which can run any code when read; "
                     "get the binary version (cifar-10-binary.tar.gz or cifar-100-binary.tar.gz) instead, with "
                     "`minicnn data get cifar10` or cifar100")
