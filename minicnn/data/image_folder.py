"""Images in class folders, on disk or straight from a .zip that is never unpacked."""

import os
import re
import struct
import threading
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

from minicnn.data.cifar import CIFAR10_CLASSES, CIFAR10_MEAN, CIFAR10_STD
from minicnn.data.decode import IMAGE_ENDINGS, MAX_FILE_BYTES, decode_image
from minicnn.errors import DataError

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "ImageFolder", "has_images", "image_splits"]

# Of ImageNet's training images, as torchvision's models expect (torchvision.models, "transforms" of the weights).
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SPLIT_FOLDERS = {"train": "train", "training": "train", "test": "test", "testing": "test",
                  "val": "val", "valid": "val", "validation": "val"}
_INDEXED = re.compile(r"(\d{1,5})_(.+)\.[^.]+")
_HIDDEN = (".", "__")      # .git, .DS_Store, ._0001.jpg and __MACOSX
_CACHE_BYTES = 512 << 20
# All that zipfile raises on damaged archives; RuntimeError includes NotImplementedError
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, ValueError, OverflowError, EOFError, RuntimeError, OSError)


class ImageFolder:
    """RGB images of any size, with labels from the names of their folders. path: a folder or a .zip.

    Layouts: `train/cat/0000.jpg` (splits train, test, val) or `cat/0000.jpg` (the one split "all"); one folder around
    everything is skipped. Rules for labels:

    * Classes are the folder names in alphabetical order, over all splits together.
    * Names such as `n01530575/010_brambling.jpg`, a number and an underscore, give the class index themselves where
      that is unambiguous: every image is named so, and either there are no class folders or each folder has one number
      of its own. `classes` then reaches to the largest number (to 999 where all folders are WordNet ids, ImageNet's
      1,000 classes), with the number in place of a name that is not known.

    split None takes the only split there is; "test" takes val where there is no test. Images of the size of the first
    decoded one are kept decoded, up to 512 MiB in all. Reading is thread-safe. mean and std are ImageNet's, or
    CIFAR-10's where the classes are CIFAR-10's. Raises DataError, naming the file, for anything missing or damaged.
    """

    def __init__(self, path, split=None):
        self.path = Path(path)
        self._files = _open_files(self.path)
        parts = _divide(self._files.names, self.path)
        self.splits = tuple(parts)
        self.split = _choose_split(split, self.splits, self.path)
        names = parts[self.split]
        everything = [name for part in parts.values() for name in part]
        label_of, self.classes = _indexed_labels(everything) or _folder_labels(everything, self.path)
        self._names = [full for full, _, _ in names]
        self.labels = np.array([label_of(folder, file) for _, folder, file in names], dtype=np.int64)
        self.labels.flags.writeable = False
        self.name = self.path.stem
        cifar = self.classes == CIFAR10_CLASSES
        self.mean, self.std = (CIFAR10_MEAN, CIFAR10_STD) if cifar else (IMAGENET_MEAN, IMAGENET_STD)
        self.mirrorable = not all(name.isdigit() for name in self.classes)     # folders 0 to 9 hold digits
        self._cache = None
        self._cached = np.zeros(len(names), dtype=bool)
        self._lock = threading.Lock()

    def __len__(self):
        return len(self._names)

    def label(self, i):
        return int(self.labels[i])

    def source(self, i):
        return f"{self.path}: {self._names[i]}"

    def image(self, i):
        """Image i: uint8 (H, W, 3). Raises DataError where the file cannot be read or decoded."""
        if self._cached[i]:
            kept = self._cache[i]
            kept.flags.writeable = False
            return kept
        image = decode_image(self._files.read(self._names[i]), self.source(i))
        with self._lock:
            if self._cache is None:     # np.empty takes memory only where it is written
                kept = len(self) if image.nbytes * len(self) <= _CACHE_BYTES else 0
                self._cache = np.empty((kept, *image.shape), dtype=np.uint8)
        if len(self._cache) and image.shape == self._cache.shape[1:]:
            self._cache[i] = image
            self._cached[i] = True
        return image

    def images_at(self, indices):
        """Images at `indices`: one array (N, H, W, 3) where all are kept decoded, else a list."""
        if self._cached[indices].all():
            return self._cache[indices]
        return [self.image(int(i)) for i in indices]


def has_images(path):
    """Whether there is an image file anywhere below the folder `path`."""
    return any(_is_image(name) for _, _, files in os.walk(path) for name in files)


def image_splits(path):
    """The splits of the images in a folder or .zip: train, val, test as they are there, or ("all",)."""
    return tuple(_divide(_open_files(Path(path)).names, path))


def _open_files(path):
    return _ZipFiles(path) if path.is_file() else _FolderFiles(path)


class _FolderFiles:
    """The image files below a folder: relative names and their bytes."""

    def __init__(self, path):
        self._path = path
        if not path.is_dir():
            raise DataError(f"{path}: is neither a folder nor a .zip file; give the path of one")
        self.names = []
        for folder, subfolders, files in os.walk(path, onerror=_cannot_list):
            subfolders[:] = sorted(name for name in subfolders if not name.startswith(_HIDDEN))
            inside = PurePosixPath(Path(folder).relative_to(path).as_posix())
            images = [str(inside / name) for name in sorted(files) if _is_image(name)]
            if not images and not subfolders and inside.parts:
                raise _empty_folder(folder)
            self.names += images

    def read(self, name):
        file = self._path / name
        try:
            size = file.stat().st_size
            if size <= MAX_FILE_BYTES:
                return file.read_bytes()
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error
        raise DataError(f"{file}: has {size:,} bytes; at most {MAX_FILE_BYTES:,} are read: make the image smaller")


class _ZipFiles:
    """The images of a zip archive. One handle under a lock: reading is quick, decoding runs outside of it."""

    def __init__(self, path):
        self._path = path
        self._lock = threading.Lock()
        try:
            self._zip = zipfile.ZipFile(path)
        except _ZIP_ERRORS as error:
            raise DataError(f"{path}: is not a readable zip archive ({error}); download it again") from error
        self._infos = {}
        for info in self._zip.infolist():
            _refuse_unsafe(info, path)
            name = info.filename
            if name in self._infos:
                raise DataError(f"{path}: has the entry {name!r} twice; make the archive again")
            if _is_image(name) and not _is_hidden(name):
                self._infos[name] = info
        self.names = sorted(self._infos)
        filled = {str(parent) for name in self.names for parent in PurePosixPath(name).parents}
        for info in self._zip.infolist():
            if info.is_dir() and not _is_hidden(info.filename) and info.filename.rstrip("/") not in filled:
                raise _empty_folder(f"{path}: {info.filename}")

    def read(self, name):
        info = self._infos[name]
        if info.file_size > MAX_FILE_BYTES:
            raise DataError(f"{self._path}: {name} unpacks to {info.file_size:,} bytes; at most {MAX_FILE_BYTES:,} "
                            "are read: make the image smaller")
        try:
            with self._lock:
                return self._zip.read(info)     # gives no more than the declared size, and checks the CRC
        except _ZIP_ERRORS as error:
            raise DataError(f"{self._path}: {name} cannot be unpacked ({error}); make or download the archive "
                            "again") from error


def _is_image(name):
    return name.lower().endswith(IMAGE_ENDINGS) and not name.startswith(_HIDDEN)


def _is_hidden(name):
    return any(part.startswith(_HIDDEN) and part != "." for part in name.split("/"))


def _empty_folder(folder):
    return DataError(f"{folder}: is a folder without images ({', '.join(IMAGE_ENDINGS)}); fill or delete it, an empty "
                     "class cannot be learnt")


def _cannot_list(error):
    raise DataError(f"{error.filename}: cannot be listed ({error.strerror}); check its permissions") from error


def _refuse_unsafe(info, path):
    name = info.filename
    if not name or name.startswith("/") or "\\" in name or ".." in name.split("/") or name[1:2] == ":":
        raise DataError(f"{path}: the entry {name!r} points outside the archive or has no name; make the archive again with "
                        "relative names and forward slashes")


def _divide(names, path):
    """{split: [(full name, class folder or "", file name)]} of relative image names."""
    if not names:
        raise DataError(f"{path}: has no images ({', '.join(IMAGE_ENDINGS)}); expected train/cat/0000.jpg or "
                        "cat/0000.jpg")
    rows = [(name, name.split("/")) for name in names]
    while len({parts[0] for _, parts in rows}) == 1 and all(len(parts) > 2 for _, parts in rows) \
            and rows[0][1][0].lower() not in _SPLIT_FOLDERS:
        rows = [(name, parts[1:]) for name, parts in rows]
    divided = {}
    has_splits = all(len(parts) > 1 and parts[0].lower() in _SPLIT_FOLDERS for _, parts in rows)
    for name, parts in rows:
        split = _SPLIT_FOLDERS[parts[0].lower()] if has_splits else "all"
        below = parts[1:] if has_splits else parts
        divided.setdefault(split, []).append((name, below[0] if len(below) > 1 else "", below[-1]))
    return {split: divided[split] for split in ("all", "train", "val", "test") if split in divided}


def _choose_split(split, splits, path):
    if split is None and len(splits) == 1:
        return splits[0]
    if split == "test" and "test" not in splits and "val" in splits:
        return "val"
    if split not in splits:
        raise DataError(f"{path}: there is no split {split!r}; choose from {', '.join(map(repr, splits))}"
                        + (", or divide it with minicnn.data.split" if len(splits) == 1 else ""))
    return split


def _folder_labels(names, path):
    loose = next((name for name, folder, _ in names if not folder), None)
    if loose is not None:
        raise DataError(f"{path}: {loose} is in no class folder; expected cat/0000.jpg, or a class index before every "
                        "file name as in 281_tabby.jpg")
    classes = sorted({folder for _, folder, _ in names})
    index = {folder: i for i, folder in enumerate(classes)}
    return (lambda folder, file: index[folder]), classes


def _indexed_labels(names):
    """(function of folder and file, classes) where the file names give the class index, else None."""
    matches = [(folder, _INDEXED.fullmatch(file)) for _, folder, file in names]
    if not all(match for _, match in matches):
        return None
    pairs = {(folder, int(match[1])) for folder, match in matches}
    folders = {folder for folder, _ in pairs}
    indices = {index for _, index in pairs}
    if folders != {""} and not (len(pairs) == len(folders) == len(indices) and len(folders) > 1):
        return None
    texts = {index: set() for index in indices}
    for _, match in matches:
        texts[int(match[1])].add(match[2])
    wordnet = all(re.fullmatch(r"n\d{8}", folder) for folder in folders) and max(indices) < 1000
    count = 1000 if wordnet else max(indices) + 1
    classes = [str(i) for i in range(count)]
    for index, found in texts.items():
        if len(found) == 1:
            classes[index] = found.pop().replace("_", " ")
    return (lambda folder, file: int(_INDEXED.fullmatch(file)[1])), classes
