"""Keys of compiled code: everything that its machine code was made from.

Numba freezes the values of globals into machine code, yet its disk cache looks only at the time stamp of the
function's own file: after an edit elsewhere it gives back code of old values. A key made here changes with the code
of every function that is reached, however deep and through whatever module, with the value of every global that they
read, and with the versions and settings of the compiler. Keys are made of what is loaded, never of files, which may
have been edited since they were imported.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import llvmlite
import numba
import numpy as np
from numba import njit
from numba.core import config
from numba.core.typing.templates import builtin_registry

# Settings that change machine code, but not numba's own key of it.
SETTINGS = (
    "OPT", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "DISABLE_JIT",
)  # fmt: skip
# Versions stand for what these contain: numba brings its own code for their functions.
BY_VERSION = {"numpy", "numba", "numba_cuda", "llvmlite"}
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def python(function: Any) -> Any:
    """The Python function behind a compiled one (itself with NUMBA_DISABLE_JIT=1)."""
    return getattr(function, "py_func", function)


@dataclass
class Reads:
    """What one function is made from.

    Attributes:
        function: compiled or plain Python.
        values: its code, options, and the values that it reads.
        callees: the functions among them, in the order in which `values` mentions them.
    """

    function: Any
    values: list[Any] = field(default_factory=list)
    callees: list[Any] = field(default_factory=list)


def code_key(functions: Iterable[Any]) -> str:
    """A key of the code that these functions compile to: 64 hexadecimal digits, equal in all processes."""
    return _key_of(everything(functions))


def _key_of(found: list[Reads]) -> str:
    place = {id(reads.function): k for k, reads in enumerate(found)}
    digest = hashlib.sha256(repr(_compiler()).encode())
    for reads in found:
        digest.update(repr((reads.values, [place[id(c)] for c in reads.callees])).encode())
    return digest.hexdigest()


def everything(functions: Iterable[Any]) -> list[Reads]:
    """These functions and all that they reach, each once, in an order that only the sources decide."""
    queue, seen, found = list(functions), set(), []
    for function in queue:  # grows while it is read
        if id(function) not in seen:
            seen.add(id(function))
            found.append(_Reader(function).reads)
            queue += found[-1].callees
    return found


def _compiler() -> tuple:
    versions = numba.__version__, llvmlite.__version__, np.__version__
    settings = [getattr(config, name, None) for name in SETTINGS]
    return sys.implementation.cache_tag, versions, settings


class _Reader:
    """Describes one function by nested lists and tuples of texts and numbers."""

    def __init__(self, function: Any):
        self.reads = Reads(function)
        self.modules: set[int] = set()  # described already, by their ids
        source = python(function)
        code = getattr(source, "__code__", None)
        if code is None:  # a launch of CUDA's simulator: what it calls are roots, too
            return
        self.names = list(dict.fromkeys(_names(code)))
        options = dict(
            getattr(function, "targetoptions", {}), locals=getattr(function, "locals", {})
        )
        cells = [cell.cell_contents for cell in source.__closure__ or ()]
        defaults = source.__defaults__, source.__kwdefaults__
        values = self.reads.values
        values += [_code(code), self.value((options, cells, defaults))]
        values += [
            (name, self.value(source.__globals__[name]))
            for name in self.names
            if name in source.__globals__
        ]
        for known, kind in builtin_registry.globals:  # numba.extending.overload
            if known is function:
                values.append(self.value([t._overload_func for t in kind.templates]))

    def value(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
            return type(value).__name__, repr(value)
        if isinstance(value, np.dtype):
            return "dtype", repr(value), value.itemsize, value.alignment
        if isinstance(value, (np.ndarray, np.generic)):
            return self.array(np.asarray(value), type(value).__name__)
        if isinstance(value, (tuple, list)):
            return _title(type(value)), [self.value(v) for v in value]
        if isinstance(value, (set, frozenset)):
            return type(value).__name__, sorted(repr(self.value(v)) for v in value)
        if isinstance(value, dict):
            return "dict", [(self.value(k), self.value(v)) for k, v in value.items()]
        if isinstance(value, ModuleType):
            return self.module(value)
        if isinstance(value, type):
            members = (
                [(m.name, self.value(m.value)) for m in value] if issubclass(value, Enum) else []
            )
            return "class", _title(value), getattr(value, "_fields", None), members
        return self.function(value)

    def array(self, array: np.ndarray, kind: str) -> tuple:
        content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        order = array.flags.c_contiguous, array.flags.f_contiguous, array.flags.writeable
        return kind, self.value(array.dtype), array.shape, order, content

    def module(self, module: ModuleType) -> tuple:
        """Those of a module's attributes that the function may mean."""
        package = module.__name__.partition(".")[0]
        if module.__name__ == "numba.cuda":  # a package of its own stands in for it
            package = "numba_cuda"
        if package in BY_VERSION or id(module) in self.modules:
            return "module", module.__name__, getattr(sys.modules.get(package), "__version__", "")
        self.modules.add(id(module))
        held = [(n, self.value(vars(module)[n])) for n in self.names if n in vars(module)]
        return "module", module.__name__, held

    def function(self, value: Any) -> tuple:
        """A function, or something of which numba knows more than we do."""
        for part in ("_dispatcher", "_defn"):  # of numba.vectorize, of numba.extending.intrinsic
            value = getattr(value, part, value)
        source = python(value)
        if isinstance(source, FunctionType):
            if value is source and source.__module__.partition(".")[0] in BY_VERSION:
                return "function", source.__module__, source.__qualname__
            self.reads.callees.append(value)
            return ("callee",)
        if isinstance(value, BuiltinFunctionType):
            return "built-in", value.__module__, value.__qualname__
        return "object", _title(type(value)), ADDRESS.sub("", repr(value))


def _title(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _names(code: CodeType) -> Iterable[str]:
    """Names of globals and attributes in a function and those that it defines."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _code(code: CodeType) -> tuple:
    """A function's code, wherever it stands."""
    constants = [_code(c) if isinstance(c, CodeType) else _constant(c) for c in code.co_consts]
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    arguments = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    return code.co_code, getattr(code, "co_exceptiontable", b""), names, arguments, constants


def _constant(value: Any) -> Any:
    if isinstance(value, frozenset):  # in no particular order
        return sorted(map(repr, value))
    return repr(value)


# -- what is compiled already ---------------------------------------------------------------------

_COMPILED_FROM: WeakKeyDictionary[Any, tuple[list, list]] = WeakKeyDictionary()


def refreshed_key(functions: Iterable[Any]) -> str:
    """`code_key`, after this process has dropped machine code that was made from other values than those of now.

    A module may have been reloaded or a constant replaced; and machine code from a disk cache that numba
    keeps for a function with `cache=True` may be of any age. That cache gets a key of ours, too.
    """
    found = everything(functions)
    stale = set()
    for reads in found:
        now, before = (reads.values, reads.callees), _COMPILED_FROM.get(reads.function)
        _COMPILED_FROM[reads.function] = now
        if before != now if before is not None else _is_compiled(reads.function):
            stale.add(id(reads.function))
        key_disk_cache(reads.function)
    size = -1
    while stale and size != len(stale):  # and what calls them, which holds a copy
        size = len(stale)
        stale |= {id(r.function) for r in found if any(id(c) in stale for c in r.callees)}
    for reads in found:
        if id(reads.function) in stale and _is_compiled(reads.function):
            _forget(reads.function)
    return _key_of(found)


_ON_CUDA = "_CUDATypingContext__dispatcher"  # where numba-cuda keeps its form of an `njit` function


def _is_compiled(function: Any) -> bool:
    return bool(getattr(function, "overloads", None)) or _ON_CUDA in getattr(
        function, "__dict__", {}
    )


def _forget(function: Any) -> None:
    function.__dict__.pop(_ON_CUDA, None)
    if function.overloads:
        function._make_finalizer()()
        function._reset_overloads()


def disk_cached(function: Any) -> Any:
    """`@njit(cache=True)` whose disk cache goes by `code_key`: a decorator."""
    return key_disk_cache(njit(cache=True)(function))


def key_disk_cache(function: Any) -> Any:
    """Make the disk cache of a compiled function, if it has one of its own, go by `code_key`; returns it."""
    cache = getattr(function, "_cache", None)
    theirs = getattr(cache, "_index_key", None)
    if cache is not None and theirs is not None and "_index_key" not in vars(cache):
        cache._index_key = lambda *of: (*theirs(*of), code_key([function]))
    return function
