"""Pickles that ask for more than weights, by name: gadgets that would run code, and broken ones."""

import os
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"


class Calls:
    """Object whose pickle calls a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._parts = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self._parts


def touch(path: Path) -> str:
    return f"touch {path}"


def stack_global(module: str, name: str, argument: str) -> bytes:
    """Return protocol 4 that calls a name found on the stack."""
    texts = [b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name)]
    word = b"X" + struct.pack("<I", len(argument)) + argument.encode()
    return b"\x80\x04" + b"".join(texts) + b"\x93(" + word + b"tR."


GADGETS: dict[str, Callable[[Path], bytes]] = {
    "os.system": lambda canary: pickle.dumps(Calls(os.system, touch(canary)), 2),
    "os.system of protocol 0": lambda canary: pickle.dumps(Calls(os.system, touch(canary)), 0),
    "os.system of protocol 5": lambda canary: pickle.dumps(Calls(os.system, touch(canary)), 5),
    "eval": lambda canary: pickle.dumps(Calls(eval, f"open({str(canary)!r}, 'w')"), 2),
    "exec": lambda canary: pickle.dumps(Calls(exec, f"open({str(canary)!r}, 'w')"), 2),
    "open": lambda canary: pickle.dumps(Calls(open, str(canary), "w"), 2),
    "getattr": lambda canary: pickle.dumps(Calls(getattr, Calls(__import__, "os"), "system"), 2),
    "pkgutil.resolve_name": lambda canary: stack_global("pkgutil", "resolve_name", "os:system"),
    "a name by a path of attributes": lambda canary: stack_global("os", "path.os.system", touch(canary)),
    "runpy": lambda canary: stack_global("runpy", "_run_code", touch(canary)),
    "torch.load": lambda canary: stack_global("torch", "load", str(canary)),
    "torch.hub.load": lambda canary: stack_global("torch.hub", "load", "a/b"),
    "numpy.load": lambda canary: stack_global("numpy", "load", str(canary)),
    "bdb.Bdb": lambda canary: stack_global("bdb", "Bdb", "x"),
    "a class of options beside a call": lambda canary: pickle.dumps(
        [Calls(os.system, touch(canary)), {"config": 1}], 2
    ),
    "in an ordered dictionary": lambda canary: pickle.dumps(OrderedDict(a=Calls(os.system, touch(canary))), 2),
    "before the pickle breaks": lambda canary: pickle.dumps(Calls(os.system, touch(canary)), 2)[:-1] + b"\xff\xff",
    "INST": lambda canary: b"(S'" + touch(canary).encode() + b"'\nios\nsystem\n.",
    "OBJ": lambda canary: b"(cos\nsystem\nS'" + touch(canary).encode() + b"'\no.",
    "EXT": lambda canary: b"\x80\x02\x82\x01.",
    "NEWOBJ of a name that is no class of options": lambda canary: b"\x80\x02csubprocess\nPopen\n)\x81.",
    "a whole model": lambda canary: b"\x80\x02c__main__\nGPT\n)\x81}X\x01\x00\x00\x00aK\x01sb.",
    "a function of a test": lambda canary: pickle.dumps(touch, 2),
    "evil in the tensor's class": lambda canary: (
        b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nctorch\nTensor\n(X\x01\x00\x00\x00at}tR."
    ),
    "a call of what is no name": lambda canary: b"\x80\x02K\x01)R.",
    "a call of a value": lambda canary: b"\x80\x02ctorch\nfloat32\n)R.",
    "an item of what is no dictionary": lambda canary: b"\x80\x02]K\x00K\x01s.",
    "an item of a tensor": lambda canary: (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\x00K\x04\x85K\x01\x85\x89}tRK\x00K\x01s."
    ),
    "an append to a dictionary": lambda canary: b"\x80\x02}K\x00a.",
    "fields of a function": lambda canary: b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb.",
    "a storage that is none": lambda canary: b"\x80\x02(X\x07\x00\x00\x00storagecos\nsystem\nK\x00K\x00K\x00tQ.",
    "a persistent id of text": lambda canary: b"\x80\x02X\x01\x00\x00\x00aQ.",
    "a persistent id of protocol 0": lambda canary: b"\x80\x02Pabc\n.",
    "buffers outside the file": lambda canary: b"\x80\x05\x97.",
    "a bytearray": lambda canary: pickle.dumps(bytearray(b"a"), 5),
    "a text longer than the file": lambda canary: b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fa.",
    "bytes longer than the file": lambda canary: b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fa.",
    "an empty stack": lambda canary: b"\x80\x02R.",
    "a mark too few": lambda canary: b"\x80\x02t.",
    "a memo that is not there": lambda canary: b"\x80\x02h\x07.",
    "nothing": lambda canary: b"",
    "no end": lambda canary: b"\x80\x02}",
    "keys that collide": lambda canary: pickle.dumps({i * ((1 << 61) - 1): 0 for i in range(1, 50)}, 2),
    "a key that is a list of tuples": lambda canary: pickle.dumps({(((1,),),): 1}, 2),
}
