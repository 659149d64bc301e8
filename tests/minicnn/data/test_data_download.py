"""minicnn data get, against a server on this machine that cuts connections, ignores ranges and lies."""

import errno
import gzip
import hashlib
import io
import json
import struct
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from minicnn import data
from minicnn.cli import data as command
from minicnn.cli import main
from minicnn.data import download
from minicnn.errors import DataError


class Server(ThreadingHTTPServer):
    """Serves `files`; notes the ranges asked for. cut: bytes after which it hangs up, for so many requests."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked, self.ranges, self.cuts, self.status = {}, [], True, [], None

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, name = self.server, self.path.rpartition("/")[2]
        server.asked.append((name, self.headers.get("Range")))
        content = server.files.get(name)
        if server.status or content is None:
            self.send_error(server.status or 404)
            return
        start = 0
        if server.ranges and (wanted := self.headers.get("Range")):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][:server.cuts.pop(0) if server.cuts else None])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "_pause", 0.0)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def serve(server, monkeypatch, name, files, images):
    """Let the server have these files and minicnn's table describe them."""
    server.files = dict(files)
    remote = tuple(download.RemoteFile(key, len(content), hashlib.sha256(content).hexdigest())
                   for key, content in files.items())
    monkeypatch.setitem(download.SOURCES, name, download.Source((server.address,), remote, images, "nobody"))


def idx(array):
    return gzip.compress(struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes(), mtime=0)


@pytest.fixture
def mnist(server, monkeypatch):
    rng = np.random.default_rng(0)
    files = {}
    for prefix, count in (("train", 30), ("t10k", 20)):
        files[f"{prefix}-images-idx3-ubyte.gz"] = idx(rng.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        files[f"{prefix}-labels-idx1-ubyte.gz"] = idx(rng.integers(0, 10, count, dtype=np.uint8))
    serve(server, monkeypatch, "mnist", files, (30, 20))
    return files


def archive(entries, kind=tarfile.REGTYPE):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.GNU_FORMAT) as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size, info.type = len(content), kind
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def cifar_files(folder="cifar-10-batches-bin/"):
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    return [(folder + name, bytes([i]) + bytes(3072)) for i, name in enumerate(names)]


def test_get_opens_and_is_not_fetched_twice(mnist, server, tmp_path):
    folder = download.get("mnist", tmp_path / "mnist")
    assert len(data.open_dataset(folder, "train")) == 30
    assert data.open_dataset(folder, "test").name == "mnist"
    assert [name for name, _ in server.asked] == list(mnist)
    server.asked.clear()
    download.get("mnist", folder)
    assert server.asked == []
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    download.get("mnist", folder)
    assert server.asked == [("t10k-labels-idx1-ubyte.gz", None)]


def test_broken_connections_are_gone_on_with(mnist, server, tmp_path):
    server.cuts = [1000, 500]
    download.get("mnist", tmp_path)
    first = next(iter(mnist))
    assert server.asked[:3] == [(first, None), (first, "bytes=1000-"), (first, "bytes=1500-")]
    assert (tmp_path / first).read_bytes() == mnist[first]
    assert not list(tmp_path.glob(".*"))


def test_a_later_command_goes_on(mnist, server, tmp_path):
    first = next(iter(mnist))
    server.cuts = [700] + [0] * 20
    with pytest.raises(DataError, match=rf"cannot get {first} .*ended after 700 of .*goes on after the 700 of .*--mirror URL"):
        download.get("mnist", tmp_path)
    assert (tmp_path / f".{first}.part").read_bytes() == mnist[first][:700]
    server.asked.clear()
    server.cuts = []
    download.get("mnist", tmp_path)
    assert server.asked[0] == (first, "bytes=700-")
    assert (tmp_path / first).read_bytes() == mnist[first]


@pytest.mark.parametrize("part", [b"x" * 900, b"x" * 10**6])
def test_junk_in_the_part_is_replaced(mnist, server, tmp_path, part):
    """A power cut may leave anything in a file, of any length."""
    first = next(iter(mnist))
    (tmp_path / f".{first}.part").write_bytes(part)
    download.get("mnist", tmp_path)
    assert (tmp_path / first).read_bytes() == mnist[first]


def test_a_server_without_ranges(mnist, server, tmp_path):
    server.ranges, server.cuts = False, [1000]
    download.get("mnist", tmp_path)
    first = next(iter(mnist))
    assert server.asked[:2] == [(first, None), (first, "bytes=1000-")]
    assert (tmp_path / first).read_bytes() == mnist[first]


def test_another_file_than_the_published_one(mnist, server, tmp_path):
    first = next(iter(mnist))
    server.files[first] = bytes(len(mnist[first]))
    with pytest.raises(DataError, match=rf"{first}: has the SHA-256 \w{{64}}, the published file has \w{{64}}; .* deleted"):
        download.get("mnist", tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_endless_file(mnist, server, tmp_path):
    first = next(iter(mnist))
    server.files[first] = mnist[first] + bytes(10**6)
    with pytest.raises(DataError, match=r"sends more than the .* bytes of the published file; name another --mirror"):
        download.get("mnist", tmp_path)


def test_a_second_address(mnist, server, monkeypatch, tmp_path):
    source = download.SOURCES["mnist"]
    dead = f"http://127.0.0.1:{server.server_address[1]}/gone"
    monkeypatch.setitem(download.SOURCES, "mnist", download.Source((dead, server.address), *list(vars(source).values())[1:]))
    download.get("mnist", tmp_path)
    assert len(server.asked) == 4 * (1 + download._ATTEMPTS)


@pytest.mark.parametrize(("status", "words"), [(404, "Not Found"), (503, "Service Unavailable")])
def test_no_file_there(mnist, server, tmp_path, status, words):
    server.status = status
    with pytest.raises(DataError, match=rf"cannot get .*{words}.*check the connection and run the command again"):
        download.get("mnist", tmp_path)


def test_no_server(server, tmp_path):
    with pytest.raises(DataError, match=r"cannot get .*refused.*check the connection"):
        download.get("mnist", tmp_path, mirror="http://127.0.0.1:9")


def test_a_full_disk(mnist, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(DataError, match=r"cannot write .*No space left on device; free some disk"):
            download.get("mnist", tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 10}))
    with pytest.raises(DataError, match=r"0 MB of disk are free and .* MB are needed; free some, or choose another --out"):
        download.get("mnist", tmp_path)


def test_cifar_is_unpacked(server, monkeypatch, tmp_path):
    content = archive([("cifar-10-batches-bin/readme.html", b"<html>"), *cifar_files()])
    serve(server, monkeypatch, "cifar10", {"cifar-10-binary.tar.gz": content}, (5, 1))
    folder = download.get("cifar10", tmp_path / "c")
    assert data.open_dataset(folder, "train").labels.tolist() == [0, 1, 2, 3, 4]
    assert sorted(path.name for path in folder.iterdir()) == sorted(name.rpartition("/")[2] for name, _ in cifar_files())


@pytest.mark.parametrize("place", ["../../", "/tmp/", "a/../../b/"])
def test_nothing_is_unpacked_elsewhere(server, monkeypatch, tmp_path, place):
    entries = [(f"{place}evil", b"evil"), *cifar_files(place)]
    serve(server, monkeypatch, "cifar10", {"cifar-10-binary.tar.gz": archive(entries)}, (5, 1))
    folder = download.get("cifar10", tmp_path / "deep" / "c")
    assert len(list(folder.iterdir())) == 6
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and path.parent != folder] == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_links_and_devices_are_not_made(server, monkeypatch, tmp_path, kind):
    content = archive([(name, b"") for name, _ in cifar_files()], kind)
    serve(server, monkeypatch, "cifar10", {"cifar-10-binary.tar.gz": content}, (5, 1))
    with pytest.raises(DataError, match="do not hold the"):
        download.get("cifar10", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_bomb_is_stopped(server, monkeypatch, tmp_path):
    monkeypatch.setattr(download, "_UNPACKED_LIMIT", 1 << 20)
    content = archive([("cifar-10-batches-bin/readme.html", bytes(8 << 20)), *cifar_files()])
    serve(server, monkeypatch, "cifar10", {"cifar-10-binary.tar.gz": content}, (5, 1))
    with pytest.raises(DataError, match="unpacks to more than 1,048,576 bytes"):
        download.get("cifar10", tmp_path)


def test_the_pinned_sums_are_sums():
    """That they are the published ones was checked against TensorFlow Datasets by hand."""
    assert tuple(download.SOURCES) == command.NAMES
    files = [file for source in download.SOURCES.values() for file in source.files]
    assert len({file.sha256 for file in files}) == len(files) == 10
    assert all(len(bytes.fromhex(file.sha256)) == 32 and file.size > 4000 for file in files)


def test_the_command(mnist, server, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "get", "mnist"]) == 0
    out = capsys.readouterr().out
    assert f"from {server.address} (nobody)" in out
    assert out.splitlines()[-1] == "  minicnn train resnet20 --data data/mnist"
    assert main(["data", "get", "mnist"]) == 0
    assert "30 images to train and 20 to test, is there already" in capsys.readouterr().out
    assert main(["data", "get", "mnist", "--json", "--out", "again", "--mirror", server.address]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["downloaded"], found["folder"], found["train"]) == (True, "again", 30)


def test_a_name_that_could_be_got(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for spec, name in (("cifar10", "cifar10"), ("cifar-100", "cifar100"), ("fashion_mnist", "fashion-mnist")):
        with pytest.raises(DataError, match=f"run `minicnn data get {name}`, then give the folder data/{name}"):
            data.open_dataset(spec)
    with pytest.raises(DataError, match="run `minicnn data get mnist`, then give the folder data/mnist"):
        data.open_dataset("data/mnist")
    with pytest.raises(DataError, match="run `minicnn data get mnist --out 'my sets/mnist'`, then give the folder my sets"):
        data.open_dataset("my sets/mnist")
    (tmp_path / "data" / "cifar10").mkdir(parents=True)             # what a download that failed leaves
    with pytest.raises(DataError, match="holds no data set; run `minicnn data get cifar10`, then"):
        data.open_dataset("data/cifar10")
    with pytest.raises(DataError, match="there is no data set 'imagenet' to get; choose from cifar10, cifar100"):
        download.get("imagenet", tmp_path)
