"""Files made to harm whoever reads them, by name: what each is, which reader meets it, its content.

    PYTHONPATH=.:tests python tests/hostile_files.py      reads each in a process of its own and prints its time and memory
"""

import functools
import gzip
import io
import json
import pickle
import pickletools
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch_files as torch

from minicnn.data import available_splits, open_dataset
from minicnn.data.decode import decode_image
from minicnn.errors import CheckpointError, DataError
from minicnn.io import load_weights, restricted_pickle
from minicnn.training import load_checkpoint
from minicnn.training.session import Configuration

ONE = np.ones(4, np.float32)
NAMES = [("os", "system"), ("posix", "system"), ("nt", "system"), ("subprocess", "Popen"), ("builtins", "eval"),
         ("builtins", "exec"), ("builtins", "getattr"), ("builtins", "__import__"), ("__builtin__", "apply"), ("sys", "exit"),
         ("importlib", "import_module"), ("runpy", "run_path"), ("pickle", "loads"), ("marshal", "loads"),
         ("types", "CodeType"), ("types", "FunctionType"), ("operator", "attrgetter"), ("functools", "partial"),
         ("ctypes", "CDLL"), ("socket", "socket"),
         ("webbrowser", "open"), ("shutil", "rmtree"), ("pathlib", "Path.unlink"), ("numpy", "load"), ("numpy.f2py", "compile"),
         ("torch", "load"), ("torch.hub", "load"), ("torch.jit", "load"), ("torch._utils", "_import_dotted_name"),
         ("collections", "OrderedDict.fromkeys"), ("torch._utils", "_rebuild_tensor_v2.__globals__"), ("code", "interact"),
         ("multiprocessing.util", "spawnv_passfds"), ("test.support.script_helper", "assert_python_ok"), ("", "")]


@dataclass(frozen=True)
class Case:
    """contents(): the files, as bytes; `read` takes the path of each; `error` is what each must raise."""

    name: str
    read: object
    contents: object
    error: type = CheckpointError


def read_checkpoint(path):
    Configuration.from_dict(load_checkpoint(path)[1].get("configuration"))


def read_image(path):
    decode_image(path.read_bytes(), path)


def read_idx(path):
    """The file as MNIST's training images, beside good labels."""
    folder = path.with_suffix(".mnist")
    folder.mkdir()
    path.rename(folder / "train-images-idx3-ubyte.gz")
    (folder / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x02\x03\x04")
    open_dataset(folder, "train")


def read_data(path):
    """A data set in one file."""
    open_dataset(path, available_splits(path)[0]).image(0)


def containers(value=None, **options):
    """Both containers of torch.save."""
    value = {} if value is None else value
    return [torch.zip_file(value, **options), torch.legacy_file(value, **options)]


def opcodes():
    """One pickle for each opcode that is not needed, with an argument of its kind."""
    known = set(restricted_pickle._STEPS)
    for opcode in pickletools.opcodes:
        if ord(opcode.code) not in known and opcode.name != "STOP":
            yield from containers(pickle_bytes=b"}}}" + opcode.code.encode("latin-1") + b"os\nsystem\n\x01\0\0\0\0\0\0\0.")


def names():
    for module, name in NAMES:
        for protocol in (2, 4):
            call = torch.Call(torch.Name(module, name), ("echo hacked",))
            yield from containers({"a": torch.tensor(ONE), "b": call}, protocol=protocol)


def storages():
    """A storage smaller or larger than it is declared to be."""
    for held in (0, 1, 15, 17, 4096):
        yield from containers({"a": torch.rebuild(torch.Storage("0", "float32", 4, bytes(held)), 0, (4,), (1,))})
    yield from containers({"a": torch.rebuild(torch.Storage("0", "float32", 2**40, bytes(16)), 0, (4,), (1,))})


def strides():
    """Negative, and overlapping so that a few numbers unfold to terabytes."""
    for offset, shape, stride in [(3, (4,), (-1,)), (-1, (2,), (1,)), (0, (10**6, 10**5), (0, 0)), (0, (2**39,), (0,)),
                                  (0, (2,), (2**62,)), (0, (2, 2), (3, 1)), (0, (1,) * 40, (1,) * 40)]:
        yield from containers({"a": torch.rebuild(torch.storage(ONE), offset, shape, stride)})


def zip_bombs():
    size = 300 * 2**20
    yield torch.zip_bytes([("a/data.pkl", b"}."), ("a/data/0", bytes(size))], zipfile.ZIP_DEFLATED)
    yield torch.zip_bytes([("a.npy", bytes(size))], zipfile.ZIP_DEFLATED)
    yield torch.zip_bytes([("a/data.pkl", bytes(size))], zipfile.ZIP_DEFLATED)
    yield overlapping_zip()


def overlapping_zip(entries=20_000):
    """A directory in which every entry is the same stored kilobyte (Fifield 2019, "A better zip bomb")."""
    whole = torch.zip_bytes([("x" * 8 + ".npy", bytes(1024))])
    at = whole.index(b"PK\x01\x02")
    local, record = whole[:at], whole[at:whole.index(b"PK\x05\x06")]
    directory = b"".join(record.replace(b"x" * 8, b"%08d" % i) for i in range(entries))
    return local + directory + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, entries, entries, len(directory), at, 0)


def torch_keys(count=100_000):
    keys = b"".join(b"X\x06\x00\x00\x00%06dN" % i for i in range(count))
    yield from containers(pickle_bytes=b"\x80\x02}(" + keys + b"u.")
    yield from containers({str(i): torch.rebuild(torch.Storage(str(i), "float32", 1, b"1234"), 0, (1,), (1,))
                           for i in range(count)})


def npz_keys(count=100_000):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for i in range(count):
            archive.writestr(zipfile.ZipInfo(f"{i}.npy"), b"")
    yield file.getvalue()


def safetensors_file(header, content=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


def safetensors_keys():
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    yield safetensors_file({f"{i:06d}": entry for i in range(200_000)})
    yield safetensors_file({f"{i:06d}": {**entry, "data_offsets": [1, 1]} for i in range(100_000)})


def huge_headers():
    yield struct.pack("<Q", 2**63) + b"{" * 100
    yield safetensors_file(b"{" + b" " * (9 << 20) + b"}")
    yield safetensors_file(b'{"a":' + b"[" * (7 << 20))
    yield safetensors_file(b'{"a":' + b"9" * (7 << 20) + b"}")
    yield safetensors_file(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,Infinity]}}')
    dimensions = b"{'descr':'<f4','fortran_order':False,'shape':(" + b"1," * 4000 + b")}"
    for text in (b"{" + b" " * 70_000 + b"}", b"(" * 9000, b"9" * 9000, dimensions):
        yield torch.zip_bytes([("a.npy", b"\x93NUMPY\2\0" + struct.pack("<I", len(text)) + text)])
    yield from containers(pickle_bytes=b"X\xff\xff\xff\xff" + b"a" * 100)
    yield from containers(pickle_bytes=b"]" + b"]" * 300_000 + b"a" * 300_000 + b".")


def truncations():
    """Every beginning of a small file of each format."""
    array = np.arange(3, dtype=np.float32)
    numbers = io.BytesIO()
    np.savez(numbers, a=array)
    header = {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}
    for whole in (*containers({"a": torch.tensor(array)}), numbers.getvalue(), safetensors_file(header, array.tobytes())):
        for length in range(len(whole)):
            yield whole[:length]


def endianness():
    """Counts and lengths in the wrong order of bytes."""
    yield torch.legacy_file({"a": torch.tensor(ONE)}, count_order="big")
    yield torch.zip_file({"a": torch.tensor(ONE)}, byteorder=b"middle")
    yield struct.pack(">Q", 2) + b"{}"


def duplicates():
    yield from containers(pickle_bytes=b"\x80\x02}(X\x01\0\0\0aNX\x01\0\0\0aNu.")
    entry = b'"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    yield safetensors_file(b"{" + entry + b"," + entry + b"}")
    yield torch.zip_bytes([("a/data.pkl", b"}."), ("b.npy", b""), ("c.npy", b"")]).replace(b"c.npy", b"b.npy")


def traversal():
    for name in ("../evil", "/etc/evil", "a/../../evil", "C:/evil", "a\\..\\evil"):
        yield torch.zip_bytes([("a/data.pkl", b"}."), (name, b"x")])


def objects():
    file = io.BytesIO()
    np.savez(file, a=np.array([{"x": 1}], object))
    yield file.getvalue()
    file = io.BytesIO()
    np.savez(file, a=np.zeros(2, [("x", "f4"), ("y", "O")]))
    yield file.getvalue()
    yield pickle.dumps({"a": 1})


def forged_checkpoints():
    from minicnn.io import save_weights
    from minicnn.training.checkpoint import FORMAT, FORMAT_VERSION, _checksum
    whole = Configuration("resnet20", "digits").as_dict()
    configurations = [[], {"evil": 1}, {**whole, "seed": "x"}, {**whole, "recipe": {"augmentation": 3}}]
    states = ["[]", "{}", "[" * 100_000, *(json.dumps({"configuration": forged}) for forged in configurations)]
    with tempfile.TemporaryDirectory() as folder:
        for state in states:
            save_weights(Path(folder, "x"), {}, {"format": FORMAT, "format_version": str(FORMAT_VERSION),
                                                 "crc32": str(_checksum({})), "state": state})
            yield Path(folder, "x").read_bytes()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, rows=None, depth=1, color=0):
    """A PNG of zeros; rows: how many of them there are."""
    packer = zlib.compressobj(1)
    row = bytes(1 + -(-width * depth // 8))
    packed = b"".join(packer.compress(row) for _ in range(height if rows is None else rows)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", width, height, depth, color, 0, 0, 0)) + chunk(
        b"IDAT", packed) + chunk(b"IEND", b"")


def images():
    yield png(50_000, 50_000)
    yield png(2**31 - 1, 2**31 - 1, rows=1)
    yield png(1, 60_000_000, rows=1)
    yield b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 50_000, 50_000, 1, 24, 0, 0, 1, 1, 0, 0)
    gif = struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b"," + struct.pack("<4HB", 0, 0, 65_535, 65_535, 0)
    yield b"GIF89a" + gif + b"\x02\0;"
    yield b"P6\n50000 50000\n255\n"
    yield jpeg_of_scans(4000)
    yield png(100, 100).replace(b"IEND", b"iCCP")
    yield png(600, 600, depth=8)[:200]


def jpeg_of_scans(count):
    """A progressive JPEG that says the same scan again and again."""
    from PIL import Image
    file = io.BytesIO()
    Image.effect_noise((2000, 2000), 1).save(file, "JPEG", progressive=True, quality=1)
    whole = file.getvalue()
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * count + whole[-2:]


def idx_files():
    yield b"\0\0\x08\x03" + struct.pack(">3I", 2**31, 2**31, 2**31)
    yield b"\0\0\x08\x03" + struct.pack("<3I", 2, 28, 28) + bytes(2 * 784)      # little endian
    yield b"\x03\x08\0\0" + struct.pack("<3I", 2, 28, 28) + bytes(2 * 784)
    yield b"\0\0\x0d\x03" + struct.pack(">3I", 2, 28, 28) + bytes(2 * 784)      # of floats
    yield gzip_bomb(b"\0\0\x08\x03" + struct.pack(">3I", 2, 28, 28))
    whole = gzip.compress(b"\0\0\x08\x03" + struct.pack(">3I", 2, 2, 2) + bytes(8))
    yield from (whole[:length] for length in range(len(whole)))


@functools.cache
def gzip_bomb(begin=b"", size=1 << 30):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = bytes(1 << 20)
    return packer.compress(begin) + b"".join(packer.compress(piece) for _ in range(size >> 20)) + packer.flush()


def tar_header(name, size, kind=b"0"):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.USTAR_FORMAT)


def cifar_archives():
    yield gzip_bomb()
    for kind in (b"0", b"x", b"g", b"L"):       # a file, and extended headers that must be read before what they describe
        yield gzip_bomb(tar_header("cifar-10-batches-bin/data_batch_1.bin", 2**30 - 2**20, kind))
    yield gzip.compress(tar_header("a/test_batch.bin", 8**11 - 1))
    bad = bytearray(tar_header("a/test_batch.bin", 3073))
    bad[124:136] = b"-0000000001\0"
    yield gzip.compress(bytes(bad) + bytes(4096))
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        content = pickle.dumps(exec)
        for name in ("data_batch_1", "test_batch", "batches.meta"):
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    yield file.getvalue()


def image_archives():
    small = png(4, 4)
    for name in ("../cat/0.png", "/cat/0.png", "cat/../../0.png", "C:/cat/0.png", "cat\\0.png"):
        yield torch.zip_bytes([(name, small)])
    yield torch.zip_bytes([("train/cat/0.png", small + bytes(300 << 20))], zipfile.ZIP_DEFLATED)
    yield torch.zip_bytes([("train/cat/0.png", png(50_000, 50_000))])
    yield overlapping_zip().replace(b".npy", b".png")
    yield torch.zip_bytes([("train/cat/0.png", b"not an image")])


CASES = [
    Case("pickles: every opcode that is not needed", load_weights, opcodes),
    Case("pickles: dangerous names", load_weights, names),
    Case("storages smaller or larger than declared", load_weights, storages),
    Case("negative and overlapping strides", load_weights, strides),
    Case("zip bombs, one of overlapping entries", load_weights, zip_bombs),
    Case("gzip bombs as weights", load_weights, lambda: [gzip_bomb()]),
    Case("100,000 keys, torch", load_weights, torch_keys),
    Case("100,000 keys, npz", load_weights, npz_keys),
    Case("100,000 keys, safetensors", load_weights, safetensors_keys),
    Case("huge and deep headers", load_weights, huge_headers),
    Case("truncation at every byte", load_weights, truncations),
    Case("wrong endianness", load_weights, endianness),
    Case("duplicate keys", load_weights, duplicates),
    Case("path traversal", load_weights, traversal),
    Case(".npz with object arrays, plain pickles", load_weights, objects),
    Case("forged checkpoints", read_checkpoint, forged_checkpoints),
    Case("images: 50,000 x 50,000 PNG and others", read_image, images, DataError),
    Case("idx files: endless, little endian, gzip bomb", read_idx, idx_files, DataError),
    Case("CIFAR archives: gzip bombs, huge headers, pickles", read_data, cifar_archives, DataError),
    Case("archives of images: traversal, bombs", read_data, image_archives, DataError),
]


def measure(number):
    """Read every file of a case; returns what came of it, as JSON has it."""
    case = CASES[number]
    slowest, files = 0.0, 0
    for path in map(Path, sys.stdin.read().split()):
        start = time.process_time()
        try:
            case.read(path)
        except case.error:
            pass
        else:
            raise SystemExit(f"{case.name}: {path} was read")
        files, slowest = files + 1, max(slowest, time.process_time() - start)
    return {"files": files, "seconds": slowest, "megabytes": peak_memory()}


def peak_memory():
    """Megabytes that this process had at most; getrusage would count those of the process that started it."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))


def main():
    """A line for each case: its files, the slowest one's processor time, the peak of memory -> 1 if one was read, or took more
    than 500 MB, else 0."""
    status = 0
    for number, case in enumerate(CASES):
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for i, content in enumerate(case.contents()):
                paths.append(Path(folder, f"{i}"))
                paths[-1].write_bytes(content)
            ran = subprocess.run([sys.executable, __file__, str(number)], input="\n".join(map(str, paths)), capture_output=True,
                                 text=True)
        if ran.returncode:
            print(f"{case.name}: FAILED\n{ran.stderr[-1500:]}")
            status = 1
            continue
        found = json.loads(ran.stdout)
        print(f"{case.name:<52} {found['files']:5} files  {found['seconds']:6.3f} s  {found['megabytes']:4.0f} MB", flush=True)
        status |= found["megabytes"] > 500
    return status


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(int(sys.argv[1]))))
    else:
        sys.exit(main())
