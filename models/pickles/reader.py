"""Pickle interpreter that runs no code: the few instructions that a file of weights needs, over plain data.

Python's own unpickler calls whatever a file names. This one never imports, calls or sets an attribute: a name is a
string, a tensor is a description of where its numbers lie, an object of an unknown configuration class is its fields.
Every instruction and every name must be on the lists below.
"""

import pickletools
import struct
import warnings
from collections.abc import Callable

from models.pickles.values import (
    STORAGES,
    Name,
    Record,
    Refused,
    StorageReference,
    Value,
    called,
    is_allowed,
    is_record,
)

MOST_INSTRUCTIONS = 300_000  # twice those of GPT-2 XL with its optimizer
MOST_BYTES = 64_000_000  # of a pickle
LARGEST_KEY = 1 << 31  # of a dictionary, among whole numbers: no larger ones can be made to collide


def read_pickle(data: bytes, *, names: bool = True) -> Value:
    """Return the plain data that a pickle describes; without `names` it can ask for none at all.

    Raises ValueError for an instruction or a name that is not on the lists, and for anything damaged.
    """
    if len(data) > MOST_BYTES:
        raise ValueError(f"its pickle has {len(data):,} bytes, and {MOST_BYTES:,} are allowed")
    machine = _Machine(names=names)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "invalid escape", DeprecationWarning)  # of texts that are refused next
            for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
                if count >= MOST_INSTRUCTIONS:
                    raise Refused(f"its pickle has more than {MOST_INSTRUCTIONS:,} instructions")
                machine.step(opcode.name, argument)
    except Refused as error:
        raise ValueError(str(error)) from None
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, struct.error, MemoryError) as error:
        raise ValueError(f"its pickle is damaged ({str(error)[:80] or type(error).__name__})") from error
    return machine.result()


class _Machine:
    """Stack machine of the pickle format."""

    def __init__(self, *, names: bool) -> None:
        self._names = names
        self._stack: list[Value] = []
        self._marks: list[list[Value]] = []  # stacks below each open mark
        self._memo: dict[int, Value] = {}

    def step(self, opcode: str, argument: Value) -> None:
        """Execute one instruction."""
        if opcode in _LITERALS:
            self._stack.append(argument)
        elif opcode in _CONSTANTS:
            self._stack.append(_CONSTANTS[opcode])
        elif handler := _HANDLERS.get(opcode):
            handler(self, argument)
        elif opcode not in ("PROTO", "FRAME", "STOP"):
            raise Refused(f"its pickle has the instruction {opcode}, which no file of weights needs")

    def result(self) -> Value:
        """Return the one value that is left at the end."""
        if len(self._stack) != 1 or self._marks:
            raise ValueError("its pickle is damaged (it does not end with one value)")
        return self._stack[0]

    def mark(self, _: Value) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def remember(self, index: Value) -> None:
        self._memo[len(self._memo) if index is None else index] = self._stack[-1]  # type: ignore[index]

    def recall(self, index: Value) -> None:
        self._stack.append(self._memo[index])  # type: ignore[index]

    def empty_list(self, _: Value) -> None:
        self._stack.append([])

    def empty_dict(self, _: Value) -> None:
        self._stack.append({})

    def empty_tuple(self, _: Value) -> None:
        self._stack.append(())

    def tuple_of_marked(self, _: Value) -> None:
        items = self._pop_mark()
        self._stack.append(tuple(items))

    def append(self, _: Value) -> None:
        item = self._stack.pop()
        self._list().append(item)

    def extend(self, _: Value) -> None:
        items = self._pop_mark()
        self._list().extend(items)

    def set_item(self, _: Value) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._dict()[_checked_key(key)] = value

    def set_items(self, _: Value) -> None:
        items = self._pop_mark()
        target = self._dict()
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_checked_key(key)] = value

    def name(self, argument: Value) -> None:
        """Push the name that GLOBAL has in itself, "module name"."""
        module, _, name = str(argument).partition(" ")
        self._push_name(module, name)

    def name_from_stack(self, _: Value) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a name is no text")
        self._push_name(module, name)

    def call(self, _: Value) -> None:
        """Replace a name and its arguments by what their call would give."""
        arguments, name = self._stack.pop(), self._stack.pop()
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            raise Refused("its pickle calls something that is no name")
        self._stack.append(called(name, arguments))

    def make_object(self, _: Value) -> None:
        arguments, name = self._stack.pop(), self._stack.pop()
        if not isinstance(name, Name) or not is_record(name.text) or not isinstance(arguments, tuple):
            raise Refused("its pickle makes an object of something that is no class of options")
        self._stack.append(Record(name.text, arguments))

    def build(self, _: Value) -> None:
        """Set the fields of a record; those of a dictionary and of a numpy type are not needed."""
        state = self._stack.pop()
        target = self._stack[-1]
        if isinstance(target, Record):
            for part in state if isinstance(state, tuple) else (state,):
                if isinstance(part, dict) and all(isinstance(key, str) for key in part):
                    target.fields.update(part)
        elif not isinstance(target, dict):
            raise Refused("its pickle changes something that is no object of options")

    def persistent(self, _: Value) -> None:
        """Replace the description of a storage by a reference."""
        match self._stack.pop():
            case ("storage", Name(text=kind), str(key), str(), int(count)) if kind.removeprefix("torch.") in STORAGES:
                self._stack.append(StorageReference(key, STORAGES[kind.removeprefix("torch.")], count))
            case _:
                raise Refused("its pickle refers to something that is no array of numbers")

    def _push_name(self, module: str, name: str) -> None:
        text = f"{module}.{name}"
        if not self._names or not is_allowed(text):
            raise Refused(
                f"its pickle asks for {text[:100]!r}, which no file of weights needs and which could run code; save "
                "model.state_dict() by torch.save, and import that"
            )
        self._stack.append(Name(text))

    def _pop_mark(self) -> list[Value]:
        items = self._stack
        self._stack = self._marks.pop()
        return items

    def _list(self) -> list[Value]:
        if isinstance(target := self._stack[-1], list):
            return target
        raise Refused("its pickle appends to something that is no list")

    def _dict(self) -> dict[object, Value]:
        if isinstance(target := self._stack[-1], dict):
            return target
        raise Refused("its pickle sets an item of something that is no dictionary")


def _tuple_of(count: int) -> Callable[[_Machine, Value], None]:
    def make(machine: _Machine, _: Value) -> None:
        stack = machine._stack
        if len(stack) < count:
            raise IndexError("too few values")
        stack[-count:] = [tuple(stack[-count:])]

    return make


def _checked_key(key: Value) -> str | int | None:
    if isinstance(key, str) or key is None or (isinstance(key, int) and abs(key) < LARGEST_KEY):
        return key
    raise ValueError("a key of a dictionary is neither text nor a small number")


_CONSTANTS: dict[str, Value] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset(
    [
        *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("SHORT_BINBYTES", "BINBYTES"),
    ]
)
_HANDLERS: dict[str, Callable[[_Machine, Value], None]] = {
    "MARK": _Machine.mark,
    "BINPUT": _Machine.remember,
    "LONG_BINPUT": _Machine.remember,
    "MEMOIZE": _Machine.remember,
    "BINGET": _Machine.recall,
    "LONG_BINGET": _Machine.recall,
    "EMPTY_LIST": _Machine.empty_list,
    "EMPTY_DICT": _Machine.empty_dict,
    "EMPTY_TUPLE": _Machine.empty_tuple,
    "TUPLE": _Machine.tuple_of_marked,
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "APPEND": _Machine.append,
    "APPENDS": _Machine.extend,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.name_from_stack,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.make_object,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}
