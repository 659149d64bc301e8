"""Images in class folders, on disk and in zip archives."""

import io
import struct
import threading
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from minicnn.data import ImageFolder
from minicnn.data.cifar import CIFAR10_CLASSES
from minicnn.data.decode import decode_image
from minicnn.errors import DataError


@pytest.fixture(params=["folder", "zip"])
def store(request, tmp_path):
    """store({name: bytes}) -> path, once as a folder and once as a zip."""
    def make(files):
        if request.param == "zip":
            return make_zip(tmp_path / "images.zip", files)
        for name, data in files.items():
            (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "images" / name).write_bytes(data)
        return tmp_path / "images"
    return make


def make_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_classes_are_the_folders_in_alphabetical_order(store, png):
    dataset = ImageFolder(store({"dog/b.png": png("red"), "cat/x.JPG": png("blue"), "dog/a.png": png("lime"),
                                 "cat/notes.txt": b"", "README.md": b""}))
    assert dataset.classes == ["cat", "dog"]
    assert dataset.splits == ("all",)
    np.testing.assert_array_equal(dataset.labels, [0, 1, 1])
    assert [tuple(dataset.image(i)[0, 0]) for i in range(3)] == [(0, 0, 255), (0, 255, 0), (255, 0, 0)]
    assert dataset.image(0).shape == (6, 5, 3)
    assert dataset.label(2) == 1
    assert dataset.source(1).endswith("dog/a.png")


def test_splits_share_their_classes(store, png):
    path = store({"train/ant/0.png": png("red"), "train/bee/0.png": png("red"), "val/bee/1.png": png("blue")})
    train, val = ImageFolder(path, "train"), ImageFolder(path, "val")
    assert train.splits == ("train", "val")
    assert val.classes == ["ant", "bee"]
    np.testing.assert_array_equal(val.labels, [1])
    assert ImageFolder(path, "test").split == "val"
    with pytest.raises(DataError, match="there is no split None; choose from 'train', 'val'"):
        ImageFolder(path)
    with pytest.raises(DataError, match="there is no split 'all'"):
        ImageFolder(path, "all")


def test_undivided_images_have_no_test_split(store, png):
    path = store({"cat/0.png": png("red"), "dog/0.png": png("red")})
    with pytest.raises(DataError, match=r"choose from 'all', or divide it with minicnn\.data\.split"):
        ImageFolder(path, "test")


def test_one_folder_around_everything_is_skipped(store, png):
    dataset = ImageFolder(store({"data/v1/test/cat/0.png": png("red"), "data/v1/test/dog/0.png": png("red")}))
    assert (dataset.splits, dataset.classes) == (("test",), ["cat", "dog"])


def test_a_class_may_be_called_train(store, png):
    dataset = ImageFolder(store({"train/0.png": png("red"), "truck/0.png": png("red")}))
    assert (dataset.splits, dataset.classes) == (("all",), ["train", "truck"])


def test_indices_in_the_names_of_files_in_class_folders(store, png):
    dataset = ImageFolder(store({"n01440764/000_tench.png": png("red"), "n01530575/010_black_swan.png": png("blue")}))
    np.testing.assert_array_equal(dataset.labels, [0, 10])
    assert len(dataset.classes) == 1000
    assert (dataset.classes[0], dataset.classes[10], dataset.classes[11]) == ("tench", "black swan", "11")


def test_indices_in_the_names_of_files_without_folders(store, png):
    dataset = ImageFolder(store({"3_a.png": png("red"), "1_b.png": png("red"), "3_c.png": png("red")}))
    np.testing.assert_array_equal(dataset.labels, [1, 3, 3])
    assert dataset.classes == ["0", "b", "2", "3"]


def test_running_numbers_are_not_taken_for_class_indices(store, png):
    dataset = ImageFolder(store({f"{name}/{i}_{name}.png": png("red") for name in ("cat", "dog") for i in (4, 5)}))
    assert dataset.classes == ["cat", "dog"]
    np.testing.assert_array_equal(dataset.labels, [0, 0, 1, 1])


def test_hidden_files_are_left_out(store, png):
    dataset = ImageFolder(store({"cat/a.png": png("red"), "cat/._a.png": b"resource fork", "__MACOSX/cat/a.png": b"",
                                 ".git/x/a.png": b"", "dog/a.png": png("red")}))
    assert (len(dataset), dataset.classes) == (2, ["cat", "dog"])


def test_digit_folders_are_not_mirrorable_and_cifar_folders_get_its_statistics(store, png):
    assert not ImageFolder(store({"0/a.png": png("red"), "1/a.png": png("red")})).mirrorable


def test_cifar_folders_get_cifar_statistics(store, png):
    dataset = ImageFolder(store({f"{name}/a.png": png("red") for name in CIFAR10_CLASSES}))
    assert dataset.mean == (0.4914, 0.4822, 0.4465)
    assert dataset.mirrorable


def test_nothing_there(store, tmp_path):
    with pytest.raises(DataError, match=r"has no images \(\.jpg.*expected train/cat/0000\.jpg or cat/0000\.jpg"):
        ImageFolder(store({"readme.txt": b""}))
    with pytest.raises(DataError, match=r"gone: is neither a folder nor a \.zip file"):
        ImageFolder(tmp_path / "gone")


def test_images_outside_class_folders(store, png):
    with pytest.raises(DataError, match=r"stray\.png is in no class folder"):
        ImageFolder(store({"cat/a.png": png("red"), "stray.png": png("red")}))


def test_an_empty_class_folder(tmp_path, png):
    (tmp_path / "dog").mkdir()
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").write_bytes(png("red"))
    with pytest.raises(DataError, match=r"dog: is a folder without images"):
        ImageFolder(tmp_path)
    archive = make_zip(tmp_path / "a.zip", {"cat/": b"", "cat/a.png": png("red"), "dog/": b""})
    with pytest.raises(DataError, match=r"a\.zip: dog/: is a folder without images"):
        ImageFolder(archive)


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:60], lambda data: b"?" + data,
                                    lambda data: b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_unreadable_images_are_named(store, png, damage):
    dataset = ImageFolder(store({"cat/good.png": png("red"), "dog/bad.png": damage(png("red", (40, 40)))}))
    dataset.image(0)
    with pytest.raises(DataError, match=r"dog/bad\.png: is not an image that can be read"):
        dataset.image(1)


def declared_png(width, height):
    header = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) \
        + struct.pack(">I", 100) + b"IDAT" + zlib.compress(bytes(1000))


@pytest.mark.parametrize("size", [(50_000, 50_000), (9000, 9000), (10_000, 10_000)])
def test_a_decompression_bomb_is_refused_by_its_declared_size(size):
    with pytest.raises(DataError, match=r"bomb\.png: .*pixels.* make the image smaller"):
        decode_image(declared_png(*size), "bomb.png")


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("image", "expected"), [
    (Image.new("L", (2, 2), 77), (77, 77, 77)),
    (Image.new("LA", (2, 2), (77, 3)), (77, 77, 77)),
    (Image.new("RGBA", (2, 2), (1, 2, 3, 4)), (1, 2, 3)),
    (Image.new("1", (2, 2), 1), (255, 255, 255)),
    (Image.fromarray(np.full((2, 2), 0x4D12, np.uint16)), (0x4D, 0x4D, 0x4D)),
    (Image.new("RGB", (2, 2), (9, 8, 7)).quantize(4), (9, 8, 7)),
])
def test_every_mode_becomes_rgb(image, expected):
    assert tuple(decode_image(encoded(image), "x")[1, 1]) == expected


def test_palette_with_transparency_does_not_warn():
    image = Image.new("RGB", (2, 2), (9, 8, 7)).quantize(4)
    assert tuple(decode_image(encoded(image, transparency=bytes([0, 255])), "x")[0, 0]) == (9, 8, 7)


@pytest.mark.parametrize("name", ["../e.png", "cat/../../e.png", "/etc/e.png", "cat\\..\\e.png", "C:/e.png"])
def test_paths_out_of_the_archive(tmp_path, png, name):
    path = make_zip(tmp_path / "evil.zip", {"cat/a.png": png("red")})
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("x")
        info.filename = name
        archive.writestr(info, png("red"))
    with pytest.raises(DataError, match=r"evil\.zip: the entry .* points outside the archive"):
        ImageFolder(path)


def test_damaged_archives(tmp_path, png):
    path = make_zip(tmp_path / "a.zip", {"cat/a.png": png("red"), "dog/a.png": png("blue")})
    whole = path.read_bytes()
    path.write_bytes(whole[:60])
    with pytest.raises(DataError, match=r"a\.zip: is not a readable zip archive"):
        ImageFolder(path)
    start = whole.index(png("blue")[-30:])
    path.write_bytes(whole[:start] + b"\xff" + whole[start + 1:])
    with pytest.raises(DataError, match=r"a\.zip: dog/a\.png cannot be unpacked .*CRC"):
        ImageFolder(path).image(1)


def test_encrypted_and_doubled_entries(tmp_path, png):
    path = make_zip(tmp_path / "a.zip", {"cat/a.png": png("red")})
    data = bytearray(path.read_bytes())
    data[6] |= 1                                    # flag bits of the local header
    data[data.index(b"PK\x01\x02") + 8] |= 1        # and of the central directory
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"cat/a\.png cannot be unpacked .*(encrypted|password)"):
        ImageFolder(path).image(0)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("cat/a.png", png("red"))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("cat/a.png", png("blue"))
    with pytest.raises(DataError, match=r"has the entry 'cat/a\.png' twice"):
        ImageFolder(tmp_path / "b.zip")


def test_oversized_files_are_not_read(store, png, monkeypatch):
    dataset = ImageFolder(store({"cat/a.png": png("red"), "dog/a.png": png("red")}))
    monkeypatch.setattr("minicnn.data.image_folder.MAX_FILE_BYTES", 10)
    with pytest.raises(DataError, match=r"cat/a\.png.* bytes; at most 10 are read"):
        dataset.image(0)


def test_images_of_one_size_are_decoded_once(store, png, monkeypatch):
    path = store({"cat/a.png": png("red"), "cat/b.png": png("blue"), "dog/other.png": png("lime", (9, 9))})
    decoded = []
    monkeypatch.setattr("minicnn.data.image_folder.decode_image",
                        lambda data, source: decoded.append(source[-9:]) or decode_image(data, source))
    dataset = ImageFolder(path)
    assert isinstance(dataset.images_at(np.array([0, 1, 2])), list)
    assert dataset.images_at(np.array([2]))[0].shape == (9, 9, 3)
    again = dataset.images_at(np.array([1, 0]))
    assert isinstance(again, np.ndarray)
    np.testing.assert_array_equal(again[:, 0, 0], [(0, 0, 255), (255, 0, 0)])
    assert sorted(decoded) == sorted(["cat/a.png", "cat/b.png", "other.png", "other.png"])
    with pytest.raises(ValueError, match="read-only"):
        dataset.image(0)[:] = 0


def test_nothing_is_kept_where_it_would_not_fit(store, png, monkeypatch):
    monkeypatch.setattr("minicnn.data.image_folder._CACHE_BYTES", 100)
    dataset = ImageFolder(store({"cat/a.png": png("red"), "dog/b.png": png("blue")}))
    for _ in range(2):
        assert tuple(dataset.images_at(np.array([1, 0]))[0][0, 0]) == (0, 0, 255)


def test_many_threads_read_the_same_images(store, png):
    files = {f"{i % 3}x/{i:03}.png": png((i, 2 * i, 255 - i)) for i in range(60)}
    dataset = ImageFolder(store(files))
    colors = [int(dataset.source(i)[-7:-4]) for i in range(60)]
    wrong = []

    def read():
        for i in range(60):
            if tuple(dataset.image(i)[3, 3]) != (colors[i], 2 * colors[i], 255 - colors[i]):
                wrong.append(i)
    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_file_that_vanishes(tmp_path, png):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").write_bytes(png("red"))
    dataset = ImageFolder(tmp_path)
    (tmp_path / "cat" / "a.png").unlink()
    with pytest.raises(DataError, match=r"a\.png: cannot be read \(No such file"):
        dataset.image(0)
