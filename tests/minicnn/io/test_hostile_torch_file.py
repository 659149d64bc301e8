"""Torch files that are damaged or made to harm: each becomes a CheckpointError that says why, and nothing is run."""

import io
import pickle
import struct
import sys
import zipfile

import numpy as np
import pytest

from minicnn.errors import CheckpointError

ONE = np.ones(1, np.float32)
SYSTEM = b"cposix\nsystem\n(X\x04\x00\x00\x00exit"


@pytest.fixture(params=["zip", "legacy"])
def container(request, torch_files):
    return getattr(torch_files, request.param)


@pytest.fixture
def refuses(load):
    def check(content, match):
        with pytest.raises(CheckpointError, match=match):
            load(content)
    return check


@pytest.mark.parametrize(("module", "name"), [
    ("posix", "system"), ("os", "system"), ("nt", "system"), ("builtins", "eval"), ("builtins", "exec"),
    ("builtins", "getattr"), ("__builtin__", "eval"), ("builtins", "__import__"), ("subprocess", "Popen"),
    ("importlib", "import_module"), ("torch.hub", "load"), ("torch", "load"), ("torch._utils", "_import_dotted_name"),
    ("torch._utils", "_rebuild_tensor_v2.__globals__"), ("collections", "OrderedDict.fromkeys"), ("numpy", "load"),
    ("pickle", "loads"), ("operator", "attrgetter"), ("torchvision.models.resnet", "ResNet"), ("", ""),
])
@pytest.mark.parametrize("protocol", [2, 4])
def test_names_that_are_not_allowed(container, torch_files, refuses, module, name, protocol):
    call = torch_files.Call(torch_files.Name(module, name), ("echo",))
    refuses(container({"a": torch_files.tensor(ONE), "b": call}, protocol=protocol),
            rf"names {module}\.{name}.*nothing was run; save model\.state_dict\(\)")


def test_nothing_is_imported(container, torch_files, refuses, tmp_path, monkeypatch):
    (tmp_path / "trap_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    refuses(container({"a": torch_files.Name("trap_module", "x")}), r"names trap_module\.x")
    assert "trap_module" not in sys.modules


@pytest.mark.parametrize(("payload", "match"), [
    (b"\x80\x02" + SYSTEM + b"tR.", r"names posix\.system"),
    (b"(S'exit'\niposix\nsystem\n.", "opcode STRING"),
    (b"(X\x04\x00\x00\x00exitiposix\nsystem\n.", "opcode INST"),
    (b"(}o.", "opcode OBJ"),
    (b"\x80\x02\x82\x01.", "opcode EXT1"),
    (b"\x83\x01\x00.", "opcode EXT2"),
    (b"\x84\x01\x00\x00\x00.", "opcode EXT4"),
    (b"P0\n.", "opcode PERSID"),
    (b"}}\x92.", "opcode NEWOBJ_EX"),
    (b"I" + b"9" * 5000 + b"\n.", "opcode INT"),
    (b"L" + b"9" * 5000 + b"L\n.", "opcode LONG"),
    (b"\x8b\xff\xff\xff\x7f.", "opcode LONG4"),
    (b"\x8d" + b"\xff" * 8 + b".", "opcode BINUNICODE8"),
    (b"\x8e" + b"\xff" * 8 + b".", "opcode BINBYTES8"),
    (b"\x96" + b"\xff" * 8 + b".", "opcode BYTEARRAY8"),
    (b"}2.", "opcode DUP"),
    (b"}0.", "opcode POP"),
    (b"g0\n.", "opcode GET"),
    (b"\x97.", "opcode NEXT_BUFFER"),
    (b"\xff.", "opcode 0xff"),
])
def test_opcodes_that_are_not_needed(container, refuses, payload, match):
    refuses(container({}, pickle_bytes=payload), match)


@pytest.mark.parametrize(("payload", "match"), [
    (b"", "damaged or truncated"),
    (b".", "damaged or truncated"),
    (b"}", "damaged or truncated"),
    (b"t.", "damaged or truncated"),
    (b"\x87.", "damaged or truncated"),
    (b"X\xff\xff\xff\x7fabc.", "damaged or truncated"),
    (b"T\xff\xff\xff\xffabc.", "damaged or truncated"),
    (b"B\xff\xff\xff\xffabc.", "damaged or truncated"),
    (b"X\x02\x00\x00\x00\xff\xfe.", "damaged or truncated"),
    (b"h\x05.", "damaged or truncated"),
    (b"j\xff\xff\xff\xff.", "damaged or truncated"),
    (b"c" + b"a" * 10**5, "damaged or truncated"),
    (b"}}\x93.", r"names \{\}\.\{\}"),
    (b"}}R.", "calls something that is not a function of the allow-list"),
    (b"ctorch\nFloatStorage\n)R.", "calls something that is not a function of the allow-list"),
    (b"ccollections\nOrderedDict\n}R.", "calls something that is not a function of the allow-list"),
    (b"K\x01}b.", "sets the state of something that has none"),
    (b"}K\x01a.", "appends to something that is not a list"),
    (b"]K\x01K\x02s.", "sets items of something that is not a dictionary"),
    (b"}(K\x01u.", "sets items of something that is not a dictionary"),
    (b"}](K\x01e.", "found a saved list, not a dictionary"),
    (b"}K\x01K\x02sK\x01K\x02s.", "duplicate key '1'"),
    (b"ccollections\ndefaultdict\n)R(K\x01K\x02u.", "found a saved object, not a dictionary of tensors"),
    (b"})K\x01s.", "a dictionary key is a tuple"),
    (b"}K\x01K\x02sK\x01.", "found a saved int"),
    (b"}(K\x01K\x02K\x01K\x03u.", "duplicate key '1'"),
    (b"}\x8a\x09" + b"\x7f" * 9 + b"K\x01s.", "a dictionary key is an integer of 71 bits"),
    (b"ccollections\nOrderedDict\nK\x01\x85R.", "an OrderedDict is not made from pairs"),
    (b"ccollections\nOrderedDict\n]K\x01a\x85R.", "an OrderedDict is not made from pairs"),
    (b"ctorch._utils\n_rebuild_parameter\n)R.", "a parameter has no tensor"),
    (b"ctorch\nSize\n)R.", r"a torch\.Size is not made from a tuple"),
    (b"ctorch._utils\n_rebuild_tensor_v2\n)R.", "a tensor is not described as torch.save does"),
    (b"K\x01Q.", "a storage is not described as torch.save does"),
    (b"(X\x07\x00\x00\x00storageK\x01X\x01\x00\x00\x000NK\x01tQ.", "a storage has no type, key or size"),
])
def test_damaged_pickles(torch_files, refuses, payload, match):
    refuses(torch_files.zip({}, pickle_bytes=payload), match)


@pytest.mark.parametrize(("payload", "match"), [
    (b"]" + b"]" * 300_000 + b"a" * 300_000 + b".", "found a saved list"),
    (b")" + b"\x85" * 600_000 + b".", "found a saved tuple"),
    (b"}" + b")" + b"\x85" * 600_000 + b"K\x01s.", "a dictionary key is a tuple"),
    (b"(" * 900_000 + b".", "damaged or truncated"),
    (b"]q\x00" + b"h\x00" * 2_000_000, "more than 1,000,000 opcodes"),
    (b"N" * 2_000_000 + b".", "more than 1,000,000 opcodes"),
    (b"]q\x00(" + b"h\x00" * 10_000 + b"e.", "found a saved list"),
    (b"}" + b"".join(b"r" + struct.pack("<I", i * 2**12) for i in range(200_000)) + b".", "no tensors"),
    (b"}" + b"\x94" * 200_000 + b".", "no tensors"),
    (b"N" * (16 * 2**20 + 1), "longer than 16,777,216|more than 1,000,000"),
])
def test_deep_long_and_memo_heavy_pickles(container, refuses, payload, match):
    refuses(container({}, pickle_bytes=payload), match)


def test_hundred_thousand_keys_are_read_or_refused(container, torch_files, refuses):
    block = torch_files.storage(ONE)
    one = {"a": torch_files.rebuild(block, 0, (1,), (1,))}
    data, _ = torch_files.pickled(one, legacy=container is torch_files.legacy)
    value = data[data.index(b"ctorch._utils"):data.rindex(b"s.")]
    keys = b"".join(b"X\x06\x00\x00\x00%06d" % i + value for i in range(100_000))
    refuses(container(one, pickle_bytes=b"\x80\x02}(" + keys + b"u."), "more than 1,000,000 opcodes")


@pytest.mark.parametrize(("offset", "shape", "strides", "match"), [
    (0, (5,), (1,), "reaches element 5 of a storage of 4"),
    (1, (4,), (1,), "reaches element 5 of a storage of 4"),
    (0, (2, 2), (3, 1), "reaches element 5 of a storage of 4"),
    (5, (), (), "reaches element 6 of a storage of 4"),
    (5, (0,), (1,), "reaches element 5 of a storage of 4"),
    (10**30, (1,), (1,), r"reaches element over 10\^18 of a storage of 4"),
    (0, (2,), (2**62,), r"reaches element over 10\^18 of a storage of 4"),
    (-1, (2,), (1,), "offset -1"),
    (0, (-2,), (1,), "not a tuple of at most 32 non-negative integers"),
    (0, (2,), (-1,), "not a tuple of at most 32 non-negative integers"),
    (0, (True,), (1,), "not a tuple of at most 32 non-negative integers"),
    (0, (1.0,), (1,), "not a tuple of at most 32 non-negative integers"),
    (0, (1,) * 33, (1,) * 33, "not a tuple of at most 32 non-negative integers"),
    (0, [1], (1,), "not a tuple of at most 32 non-negative integers"),
    (0, (1, 1), (1,), "2 sizes, 1 strides"),
    (0, (10**6, 10**6, 10**6), (0, 0, 0), "has over 1,099,511,627,776 elements"),
    (0, (0, 2**62), (1, 1), "has over 1,099,511,627,776 elements"),
    (0, (10**6, 10**5), (0, 0), "more than 67,.* which is the most that a file of .* may unfold to"),
])
def test_views_that_leave_their_storage(container, torch_files, refuses, offset, shape, strides, match):
    block = torch_files.storage(np.arange(4, dtype=np.float32))
    refuses(container({"a": torch_files.rebuild(block, offset, shape, strides)}), match)


def test_many_names_for_one_big_tensor(container, torch_files, refuses):
    big = torch_files.tensor(np.zeros(2**20, np.float32))
    refuses(container({str(i): big for i in range(100)}), "its arrays claim 419,430,400 bytes")


@pytest.mark.parametrize("held", [0, 15, 17, 4000])
def test_storage_of_another_size_than_declared(container, torch_files, refuses, held):
    block = torch_files.Storage("0", "float32", 4, bytes(held))
    refuses(container({"a": torch_files.rebuild(block, 0, (4,), (1,))}),
            f"holds {held:,} bytes, but 4 numbers of float32|truncated|bytes follow the last storage")


@pytest.mark.parametrize("numel", [-1, 2**63 - 1, True, "4", None])
def test_storage_with_a_strange_size(torch_files, refuses, numel):
    block = torch_files.Storage("0", "float32", numel, bytes(16))
    refuses(torch_files.zip({"a": torch_files.rebuild(block, 0, (4,), (1,))}),
            "no type, key or size|16 bytes, but 9,223,")


def test_storage_declared_twice(container, torch_files, refuses):
    first, second = torch_files.storage(np.ones(2, np.float32)), torch_files.storage(np.ones(1, np.float64))
    both = {"a": torch_files.rebuild(first, 0, (2,), (1,)), "b": torch_files.rebuild(second, 0, (1,), (1,))}
    refuses(container(both), "storage '0' is declared twice, differently")


@pytest.mark.parametrize("view", [("v", 8, 3), ("v", -1, 2), ("v", 0), "v"])
def test_legacy_storage_view_that_leaves_its_storage(torch_files, refuses, view):
    block = torch_files.Storage("0", "float32", 10, bytes(40), view=view)
    refuses(torch_files.legacy({"a": torch_files.rebuild(block, 0, (1,), (1,))}),
            "leaves its storage|is not .key, start")


@pytest.mark.parametrize(("options", "match"), [
    ({"version": 1002}, "the protocol is 1002, not 1001"),
    ({"keys": ["1"]}, "1 storages are declared and 1 listed, not the same"),
    ({"keys": ["0", "0"]}, "not a list of different names"),
    ({"keys": {"0": 1}}, "not a list of different names"),
    ({"keys": ["0", "1"]}, "1 storages are declared and 2 listed"),
    ({"count_order": "big"}, "holds 72,057,594,037,927,936 numbers, but 1 are declared"),
])
def test_legacy_parts_that_do_not_fit(torch_files, refuses, options, match):
    refuses(torch_files.legacy({"a": torch_files.tensor(ONE)}, **options), match)


def test_legacy_magic_that_only_looks_right(torch_files, refuses):
    content = torch_files.legacy({"a": torch_files.tensor(ONE)})
    refuses(content.replace(b"\x8a\x0a", b"U\x0a", 1), "does not begin with torch.save's magic number")


def test_legacy_with_bytes_to_spare(torch_files, refuses):
    refuses(torch_files.legacy({"a": torch_files.tensor(ONE)}) + b"more", "4 bytes follow the last storage")


def test_truncation_at_every_byte(container, torch_files, load):
    content = container({"a": torch_files.tensor(np.arange(3, dtype=np.float32))})
    for length in range(len(content)):
        with pytest.raises(CheckpointError, match="load_weights: "):
            load(content[:length])


@pytest.mark.parametrize("order", [b"", b"middle", b"LITTLE"])
def test_unknown_byte_order(torch_files, refuses, order):
    refuses(torch_files.zip({"a": torch_files.tensor(ONE)}, byteorder=order), "it must be 'little' or 'big'")


def test_zip_without_its_storage(torch_files, refuses):
    data, _ = torch_files.pickled({"a": torch_files.tensor(ONE)})
    refuses(torch_files.zip_bytes([("archive/data.pkl", data)]), "the storage '0' is missing")


def test_zip_with_two_pickles(torch_files, refuses):
    refuses(torch_files.zip_bytes([("a/data.pkl", b"}."), ("b/data.pkl", b"}.")]), r"holds 2 data\.pkl")


def test_torchscript_program(torch_files, refuses):
    refuses(torch_files.zip_bytes([("a/data.pkl", b"}."), ("a/constants.pkl", b").")]), "a TorchScript program")


def test_whole_program_is_not_weights(container, refuses):
    refuses(container({"a": 1, "b": "text"}), "no tensors in the saved dictionary .it has 2 keys: a, b")


def test_single_tensor_is_not_weights(container, torch_files, refuses):
    refuses(container(torch_files.tensor(ONE)), "found a saved tensor")


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "a/../../evil", "C:/evil", "a\\..\\evil"])
def test_zip_names_that_lead_out(torch_files, refuses, name):
    data, _ = torch_files.pickled({})
    refuses(torch_files.zip_bytes([("archive/data.pkl", data), (name, b"x")]), "leads out of the archive")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip_with_a_duplicate_entry(torch_files, refuses):
    refuses(torch_files.zip_bytes([("a/data.pkl", b"}."), ("a/data.pkl", b"}.")]), "duplicate zip entry 'a/data.pkl'")


def test_deflated_archive_is_read(torch_files, load, arrays):
    """torch.save stores, but a zip made again by another tool is still readable."""
    content = torch_files.zip(torch_files.tensors(arrays), compression=zipfile.ZIP_DEFLATED)
    assert sorted(load(content)) == sorted(arrays)


def test_zip_bomb(torch_files, refuses):
    block = torch_files.storage(np.zeros(100 * 2**20, np.uint8))
    bomb = {"a": torch_files.rebuild(block, 0, (100 * 2**20,), (1,))}
    content = torch_files.zip(bomb, compression=zipfile.ZIP_DEFLATED)
    assert len(content) < 2**20
    refuses(content, "its arrays claim 104,857,.* may unfold to")


def test_zip_method_that_torch_does_not_use(torch_files, refuses):
    content = torch_files.zip({"a": torch_files.tensor(ONE)}, compression=zipfile.ZIP_BZIP2)
    refuses(content, "compressed by method 12")


def test_zip_with_flipped_bits_in_a_storage(torch_files, refuses):
    content = torch_files.zip({"a": torch_files.tensor(np.full(4, 1.5, np.float32))})
    number = np.float32(1.5).tobytes()
    refuses(content.replace(number, np.float32(2.5).tobytes(), 1), r"'archive/data/0' is damaged .Bad CRC-32")


def change_directory(content, name, at, code, value):
    """Changes a field of the central directory's entry of `name`."""
    content = bytearray(content)
    entry = content.rindex(name) - 46
    struct.pack_into(code, content, entry + at, value)
    return bytes(content)


@pytest.mark.parametrize(("at", "code", "value", "match"), [
    (8, "<H", 1, "is encrypted"),
    (20, "<I", 2**31, "claims 2,147,483,648 and 4 bytes"),
    (24, "<I", 2**31, "claims 4 and 2,147,483,648 bytes"),
    (42, "<I", 2**31, "is damaged|cannot be read"),
    (6, "<H", 999, "damaged"),
])
def test_zip_directory_that_lies(torch_files, refuses, at, code, value, match):
    content = torch_files.zip({"a": torch_files.tensor(ONE)})
    refuses(change_directory(content, b"archive/data/0", at, code, value), match)


def test_deflated_entry_shorter_than_it_says(torch_files, refuses):
    content = torch_files.zip({"a": torch_files.tensor(ONE)}, compression=zipfile.ZIP_DEFLATED)
    refuses(change_directory(content, b"archive/data/0", 24, "<I", 4000),
            "truncated: 4 of 4,000 bytes are there|Bad CRC")


def test_zip_without_end_record(torch_files, refuses):
    content = torch_files.zip({"a": torch_files.tensor(ONE)})
    refuses(content[:-22], "the zip archive is damaged or truncated .File is not a zip file")


def test_zip64_archive_with_a_huge_directory(torch_files, refuses):
    """torch.save always writes the 64-bit end record, zipfile only for big archives; it is put in by hand."""
    content = torch_files.zip({"a": torch_files.tensor(ONE)})
    record = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, 2**40, 0)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, len(content) - 22, 1)
    refuses(content[:-22] + record + locator + content[-22:], "the zip directory claims 1,099,511,627,776 bytes")


def test_zip_entries_that_overlap(torch_files, refuses):
    """Sizes that each fit in the file, but not together."""
    content = torch_files.zip({"a": torch_files.tensor(np.zeros(1000, np.float32))})
    for at in (20, 24):
        content = change_directory(content, b"archive/byteorder", at, "<I", 4000)
    refuses(content, r"claim 8,\d+ bytes in a file of")


def test_zip_with_a_huge_directory(torch_files, refuses):
    file = io.BytesIO(torch_files.zip({"a": torch_files.tensor(ONE)}))
    content = bytearray(file.getvalue())
    struct.pack_into("<I", content, content.rindex(b"PK\x05\x06") + 12, 2**30)
    refuses(bytes(content), "the zip directory claims 1,073,741,824 bytes")


def test_bare_pickle_is_not_run(refuses):
    class Exit:
        def __reduce__(self):
            return sys.exit, ("run",)
    refuses(pickle.dumps(Exit()), "found a pickle that torch.save did not write")
