"""A pickle machine that can describe tensors and do nothing else.

In: the pickle inside a ``pytorch_model.bin``. Out: `TensorRef`s by name, which say where in the file a tensor's
elements lie. It imports nothing, calls nothing that a file names and sets no attribute: the few globals that a
state dict needs are symbols to it, everything else is refused by name. Python's own unpickler is not used, since even
with an allow-list a file could make it reserve gigabytes or change the classes on the list.

Opcodes: CPython's pickletools, which decodes them here. What torch writes: pytorch/pytorch, torch/serialization.py,
torch/_utils.py (_rebuild_tensor_v2) and torch/_tensor.py (__reduce_ex__).
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from edgekit.errors import SourceError

# A state dict needs about 60 opcodes a tensor, and 2 million take 5 s.
MAX_OPCODES = 2_000_000
MAX_DIMENSIONS = 8

# torch's storage classes and their elements; "bfloat16" and "bool" as in `element_types`, else numpy's dtypes.
STORAGES = {
    "torch DoubleStorage": "<f8",
    "torch FloatStorage": "<f4",
    "torch HalfStorage": "<f2",
    "torch BFloat16Storage": "bfloat16",
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
    "torch ShortStorage": "<i2",
    "torch CharStorage": "i1",
    "torch ByteStorage": "u1",
    "torch BoolStorage": "bool",
}

_LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


@dataclass(frozen=True)
class StorageRef:
    """A run of elements somewhere in the file.

    Attributes:
        key: Its name in the file.
        kind: The type of its elements, a value of `STORAGES`.
        elements: How many there are.
    """

    key: str
    kind: str
    elements: int


@dataclass(frozen=True)
class TensorRef:
    """A tensor as a view of a storage: offset, sizes and strides in elements, all within the storage."""

    storage: StorageRef
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class _Global:
    name: str


def read_pickle(stream: BytesIO, what: str) -> Any:
    """Reads one pickle and leaves the stream behind its last byte.

    Args:
        stream: Bytes that begin with a pickle; their number bounds the memory that this takes.
        what: Where the pickle is from, for messages: "pytorch_model.bin: data.pkl".

    Returns:
        Numbers, text, lists, tuples, dicts, and a `TensorRef` for each tensor.

    Raises:
        SourceError: The pickle is damaged or cut short, or wants anything that a state dict doesn't need.
    """
    try:
        return _Machine(what).run(stream)
    # What pops an empty stack, misses a memo entry, or has the wrong number or type of arguments is damaged.
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, RecursionError) as error:
        raise SourceError(f"{what}: expected a pickled state dict, found a damaged one ({error!r:.100})") from None


class _Machine:
    """One run: the stack, the stacks under the marks, and the memo."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self, stream: BytesIO) -> Any:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count == MAX_OPCODES:
                raise SourceError(f"{self._what}: expected at most {MAX_OPCODES} pickle opcodes, found more")
            name = opcode.name
            if name in _LITERALS:
                self._stack.append(argument)
            elif name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name])
            elif name == "STOP":
                break
            elif name in _STEPS:
                _STEPS[name](self, argument)
            else:
                raise SourceError(f"{self._what}: refusing the pickle opcode {name}, which no state dict needs")
        return self._stack.pop()

    def mark(self, _: None) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def pop_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marked.pop()
        return items

    def put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def build_tuple(self, _: None) -> None:
        items = self.pop_mark()
        self._stack.append(tuple(items))

    def build_short_tuple(self, length: int) -> None:
        items = [self._stack.pop() for _ in range(length)]
        self._stack.append(tuple(reversed(items)))

    def append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise TypeError("not a list")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not dict:
            raise TypeError("not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # A nested tuple as a key could take for ever to hash.
            if not isinstance(key, str | int):
                raise TypeError("neither text nor a number as a key")
            target[key] = value

    def find_global(self, name: str) -> None:
        if name not in STORAGES and name not in _BUILDERS:
            module, _, attribute = name.partition(" ")
            raise SourceError(
                f"{self._what}: refusing {f'{module}.{attribute}'[:100]!r}, which no state dict needs: "
                "the file may be an attack; use model.safetensors if there is one"
            )
        self._stack.append(_Global(name))

    def reduce(self, _: None) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, _Global) or function.name not in _BUILDERS or type(arguments) is not tuple:
            raise TypeError("a call of something that is not a tensor's constructor")
        self._stack.append(_BUILDERS[function.name](*arguments))

    def build(self, _: None) -> None:
        # torch hangs a state dict's `_metadata` on it as an attribute; nothing needs it.
        self._stack.pop()
        if type(self._stack[-1]) is not dict:
            raise TypeError("attributes of something that is not a state dict")

    def persistent_id(self, _: None) -> None:
        tag, kind, key, _location, elements, *view = self._stack.pop()
        # Storages that are views of others were written by torch 0.3 and earlier only.
        if tag != "storage" or not isinstance(kind, _Global) or kind.name not in STORAGES or view not in ([], [None]):
            raise TypeError("a persistent id that is not a storage")
        if not isinstance(key, str) or not _is_count(elements):
            raise TypeError("a storage without a name and a length")
        self._stack.append(StorageRef(key, STORAGES[kind.name], elements))


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _rebuild_tensor(
    storage: object, offset: object, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> TensorRef:
    """``torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)``, checked."""
    if not isinstance(storage, StorageRef) or type(size) is not tuple or type(stride) is not tuple:
        raise TypeError("a tensor without a storage, sizes and strides")
    if not all(map(_is_count, (offset, *size, *stride))) or not len(size) == len(stride) <= MAX_DIMENSIONS:
        raise ValueError("a tensor's offset, sizes and strides")
    return TensorRef(storage, offset, size, stride)  # type: ignore[arg-type]


def _rebuild_parameter(data: object, *_: object) -> TensorRef:
    if not isinstance(data, TensorRef):
        raise TypeError("a parameter without a tensor")
    return data


def _new_dict() -> dict[Any, Any]:
    return {}


def _size(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return sizes


_BUILDERS: dict[str, Callable[..., Any]] = {
    "collections OrderedDict": _new_dict,
    "torch Size": _size,
    "torch._utils _rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils _rebuild_parameter": _rebuild_parameter,
}

_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "MARK": _Machine.mark,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "EMPTY_DICT": lambda machine, _: machine._stack.append({}),
    "EMPTY_LIST": lambda machine, _: machine._stack.append([]),
    "TUPLE": _Machine.build_tuple,
    "TUPLE1": lambda machine, _: machine.build_short_tuple(1),
    "TUPLE2": lambda machine, _: machine.build_short_tuple(2),
    "TUPLE3": lambda machine, _: machine.build_short_tuple(3),
    "APPEND": lambda machine, _: machine.append([machine._stack.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine._stack.pop(-2), machine._stack.pop()]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_mark()),
    "GLOBAL": _Machine.find_global,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent_id,
}
