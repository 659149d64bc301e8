"""A reader for the pickles inside torch files that can build data and do nothing else.

Python's own unpickler calls whatever a file names. This one knows the opcodes that a state_dict is written with
(protocols 2 to 5), imports nothing, and answers a name only from the table it is given; every other opcode and name is
refused.
Opcodes: the standard library's pickletools.
"""

import pickle  # for the names of the opcodes only
import struct
from dataclasses import dataclass

from minicnn.errors import CheckpointError

__all__ = ["IGNORED", "MAX_PICKLE_BYTES", "Global", "PickleReader"]

MAX_PICKLE_BYTES = 16 * 2**20   # a tensor takes about 150
_MAX_OPCODES = 1_000_000        # a tensor takes about 30
_KEY_TYPES = (str, int, float, bool, type(None))    # not tuples: the hash of a deep one overflows the C stack
_KEY_BITS = 64                  # the hashes of longer integers can be made to collide


class _Ignored:
    """Stands for an object that weights do not need: numpy scalars, argparse namespaces."""


IGNORED = _Ignored()


@dataclass(frozen=True, slots=True)
class Global:
    """A name that a pickle may use. `build(*args)` is our own stand-in for calling it; None: it cannot be called."""

    name: str
    build: object = None
    dtype: str | None = None


class PickleReader:
    """Reads one pickle after another from `data` (bytes), beginning at `position`.

    allowed: {"module name": Global}. load_persistent: called with the argument of BINPERSID (a storage).
    mutable_types: what BUILD may be applied to; its state is dropped.
    """

    def __init__(self, data, allowed, load_persistent, mutable_types=()):
        self.data = data
        self.position = 0
        self.allowed = allowed
        self.load_persistent = load_persistent
        self.buildable = (dict, _Ignored, *mutable_types)
        self.opcodes_left = _MAX_OPCODES

    def load(self):
        """The next pickle's value. Raises CheckpointError for anything damaged, unsafe or too long."""
        self.stack, self.marked, self.memo = [], [], {}
        start = self.position
        try:
            return self._run()
        except (IndexError, KeyError, UnicodeDecodeError, struct.error) as error:
            raise CheckpointError(f"the pickle at byte {start} is damaged or truncated near byte {self.position}; "
                                  "download or copy the file again") from error

    def _run(self):
        while True:
            opcode = self.data[self.position]
            self.position += 1
            if opcode == _STOP:
                return self.stack.pop()
            step = _STEPS.get(opcode)
            if step is None:
                self._refuse_opcode(opcode)
            step(self)
            self.opcodes_left -= 1
            if self.opcodes_left == 0:
                raise CheckpointError(f"the pickle has more than {_MAX_OPCODES:,} opcodes, too many for weights; "
                                      "save only model.state_dict()")

    def _refuse_opcode(self, opcode):
        import pickletools
        known = pickletools.code2op.get(chr(opcode))
        name = known.name if known else f"0x{opcode:02x}"
        raise CheckpointError(f"the pickle has the opcode {name} at byte {self.position - 1}, which a state_dict does "
                              "not need; nothing was run; save model.state_dict() with torch.save's defaults")

    # -- the bytes -----------------------------------------------------------------------------------------------------

    def take(self, count):
        end = self.position + count
        if end > len(self.data):
            raise IndexError(end)
        piece = self.data[self.position:end]
        self.position = end
        return piece

    def take_number(self, code):
        number, = struct.unpack_from(code, self.data, self.position)
        self.position += struct.calcsize(code)
        return number

    def take_line(self):
        end = self.data.find(b"\n", self.position, self.position + 256)
        if end < 0:
            raise IndexError(self.position)
        line = self.take(end - self.position)
        self.position += 1
        return line.decode()

    # -- the stack -----------------------------------------------------------------------------------------------------

    def push(self, value):
        self.stack.append(value)

    def pop_marked(self):
        items, self.stack = self.stack, self.marked.pop()
        return items

    def mark(self):
        self.marked.append(self.stack)
        self.stack = []

    def put(self, index):
        self.memo[index] = self.stack[-1]

    def pack(self, count):
        if len(self.stack) < count:
            raise IndexError(count)
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.push(items)

    # -- names and objects ---------------------------------------------------------------------------------------------

    def push_global(self, module, name):
        entry = self.allowed.get(f"{module} {name}") if type(module) is type(name) is str else None
        if entry is None:
            raise CheckpointError(f"the pickle names {str(module)[:80]}.{str(name)[:80]}, which a state_dict does not "
                                  "need; nothing was run; save model.state_dict() alone, not the model or the program")
        self.push(entry)

    def push_stack_global(self):
        name = self.stack.pop()
        self.push_global(self.stack.pop(), name)

    def reduce(self):
        """REDUCE and NEWOBJ: the stand-in of an allowed name takes the arguments."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not Global or function.build is None or type(arguments) is not tuple:
            raise CheckpointError("the pickle calls something that is not a function of the allow-list; "
                                  "nothing was run; save model.state_dict() alone")
        self.push(function.build(*arguments))

    def build(self):
        self.stack.pop()
        if not isinstance(self.stack[-1], self.buildable):
            raise CheckpointError("the pickle sets the state of something that has none; nothing was run; "
                                  "save model.state_dict() alone")

    def append(self, items):
        target = self.stack[-1]
        if type(target) is not list:
            raise CheckpointError("the pickle appends to something that is not a list; it is damaged")
        target.extend(items)

    def set_items(self, items):
        target = self.stack[-1]
        if target is IGNORED:
            return
        if type(target) is not dict or len(items) % 2:
            raise CheckpointError("the pickle sets items of something that is not a dictionary; it is damaged")
        add_items(target, zip(items[::2], items[1::2]))


def add_items(target, pairs):
    """Adds (key, value) pairs to a dict; keys must be plain and new, as those of a saved dictionary are."""
    for key, value in pairs:
        if type(key) not in _KEY_TYPES:
            raise CheckpointError(f"a dictionary key is a {type(key).__name__}; only str and numbers can be keys here")
        if type(key) is int and key.bit_length() > _KEY_BITS:
            raise CheckpointError(f"a dictionary key is an integer of {key.bit_length()} bits; at most {_KEY_BITS} "
                                  "are allowed")
        if key in target:
            raise CheckpointError(f"duplicate key {str(key)[:80]!r}; the file is damaged or forged; save it again")
        target[key] = value


def _byte(opcode):
    return opcode[0]


_STOP = _byte(pickle.STOP)

_STEPS = {_byte(opcode): step for opcode, step in {
    pickle.PROTO: lambda r: r.take(1),
    pickle.FRAME: lambda r: r.take(8),
    pickle.NONE: lambda r: r.push(None),
    pickle.NEWTRUE: lambda r: r.push(True),
    pickle.NEWFALSE: lambda r: r.push(False),
    pickle.BININT: lambda r: r.push(r.take_number("<i")),
    pickle.BININT1: lambda r: r.push(r.take_number("<B")),
    pickle.BININT2: lambda r: r.push(r.take_number("<H")),
    pickle.LONG1: lambda r: r.push(int.from_bytes(r.take(r.take_number("<B")), "little", signed=True)),
    pickle.BINFLOAT: lambda r: r.push(r.take_number(">d")),
    pickle.BINUNICODE: lambda r: r.push(r.take(r.take_number("<I")).decode()),
    pickle.SHORT_BINUNICODE: lambda r: r.push(r.take(r.take_number("<B")).decode()),
    # Python 2 wrote names as byte strings
    pickle.BINSTRING: lambda r: r.push(r.take(r.take_number("<I")).decode("latin-1")),
    pickle.SHORT_BINSTRING: lambda r: r.push(r.take(r.take_number("<B")).decode("latin-1")),
    pickle.BINBYTES: lambda r: r.push(r.take(r.take_number("<I"))),
    pickle.SHORT_BINBYTES: lambda r: r.push(r.take(r.take_number("<B"))),
    pickle.EMPTY_TUPLE: lambda r: r.push(()),
    pickle.EMPTY_LIST: lambda r: r.push([]),
    pickle.EMPTY_DICT: lambda r: r.push({}),
    pickle.MARK: lambda r: r.mark(),
    pickle.TUPLE: lambda r: r.push(tuple(r.pop_marked())),
    pickle.TUPLE1: lambda r: r.pack(1),
    pickle.TUPLE2: lambda r: r.pack(2),
    pickle.TUPLE3: lambda r: r.pack(3),
    pickle.APPEND: lambda r: r.append([r.stack.pop()]),
    pickle.APPENDS: lambda r: r.append(r.pop_marked()),
    pickle.SETITEM: lambda r: r.set_items([r.stack.pop(), r.stack.pop()][::-1]),
    pickle.SETITEMS: lambda r: r.set_items(r.pop_marked()),
    pickle.BINPUT: lambda r: r.put(r.take_number("<B")),
    pickle.LONG_BINPUT: lambda r: r.put(r.take_number("<I")),
    pickle.MEMOIZE: lambda r: r.put(len(r.memo)),
    pickle.BINGET: lambda r: r.push(r.memo[r.take_number("<B")]),
    pickle.LONG_BINGET: lambda r: r.push(r.memo[r.take_number("<I")]),
    pickle.GLOBAL: lambda r: r.push_global(r.take_line(), r.take_line()),
    pickle.STACK_GLOBAL: lambda r: r.push_stack_global(),
    pickle.REDUCE: lambda r: r.reduce(),
    pickle.NEWOBJ: lambda r: r.reduce(),
    pickle.BUILD: lambda r: r.build(),
    pickle.BINPERSID: lambda r: r.push(r.load_persistent(r.stack.pop())),
}.items()}
