"""Cache keys of compiled code, computed from everything that the machine code depends on.

Numba compiles the values of globals into machine code, but its disk cache checks only the time stamp of the file
that defines the function: after an edit to another file it returns stale code. A key computed here depends on the
code of all functions that are called, directly or indirectly and through any module, on the values of all globals
that they read, and on the version and settings of the compiler. Keys are computed from loaded objects, not from
files, which may have been edited since they were imported.
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

# Settings that affect machine code but are not part of numba's own cache key.
SETTINGS = (
    "OPT", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "DISABLE_JIT",
)  # fmt: skip
# Identified by their versions: numba has its own implementations of their functions.
BY_VERSION = {"numpy", "numba", "numba_cuda", "llvmlite"}
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def python(function: Any) -> Any:
    """The Python function behind a compiled one (itself with NUMBA_DISABLE_JIT=1)."""
    return getattr(function, "py_func", function)


@dataclass
class Dependencies:
    """What the machine code of one function depends on.

    Attributes:
        function: compiled or plain Python.
        values: its code, options, and the values that it reads.
        callees: the functions that it reads, in the order in which they occur in `values`.
    """

    function: Any
    values: list[Any] = field(default_factory=list)
    callees: list[Any] = field(default_factory=list)


def code_key(functions: Iterable[Any]) -> str:
    """A key of the code that these functions compile to: 64 hexadecimal digits, the same in every process."""
    return _key_of(reachable(functions))


def _key_of(found: list[Dependencies]) -> str:
    index = {id(d.function): k for k, d in enumerate(found)}
    digest = hashlib.sha256(repr(_compiler()).encode())
    for dependencies in found:
        callees = [index[id(c)] for c in dependencies.callees]
        digest.update(repr((dependencies.values, callees)).encode())
    return digest.hexdigest()


def reachable(functions: Iterable[Any]) -> list[Dependencies]:
    """These functions and all that they call, each once, in an order that depends only on their code."""
    queue, seen, found = list(functions), set(), []
    for function in queue:  # the loop appends to it
        if id(function) not in seen:
            seen.add(id(function))
            found.append(_Inspector(function).found)
            queue += found[-1].callees
    return found


def _compiler() -> tuple:
    versions = numba.__version__, llvmlite.__version__, np.__version__
    settings = [getattr(config, name, None) for name in SETTINGS]
    return sys.implementation.cache_tag, versions, settings


class _Inspector:
    """Describes one function by nested lists and tuples of strings and numbers."""

    def __init__(self, function: Any):
        self.found = Dependencies(function)
        self.modules: set[int] = set()  # ids of the modules that are described already
        source = python(function)
        code = getattr(source, "__code__", None)
        if code is None:  # a kernel of the CUDA simulator; its callees are passed in as well
            return
        self.names = list(dict.fromkeys(_names(code)))
        options = {
            **getattr(function, "targetoptions", {}),
            "locals": getattr(function, "locals", {}),
        }
        cells = [cell.cell_contents for cell in source.__closure__ or ()]
        defaults = source.__defaults__, source.__kwdefaults__
        values = self.found.values
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
            enum = value if issubclass(value, Enum) else ()
            members = [(m.name, self.value(m.value)) for m in enum]
            return "class", _title(value), getattr(value, "_fields", None), members
        return self.function(value)

    def array(self, array: np.ndarray, kind: str) -> tuple:
        content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        order = array.flags.c_contiguous, array.flags.f_contiguous, array.flags.writeable
        return kind, self.value(array.dtype), array.shape, order, content

    def module(self, module: ModuleType) -> tuple:
        """The attributes of a module that the function may refer to."""
        package = module.__name__.partition(".")[0]
        if module.__name__ == "numba.cuda":  # implemented by the package numba-cuda
            package = "numba_cuda"
        if package in BY_VERSION or id(module) in self.modules:
            return "module", module.__name__, getattr(sys.modules.get(package), "__version__", "")
        self.modules.add(id(module))
        held = [(n, self.value(vars(module)[n])) for n in self.names if n in vars(module)]
        return "module", module.__name__, held

    def function(self, value: Any) -> tuple:
        """A function, or another object that numba can compile."""
        for part in ("_dispatcher", "_defn"):  # of numba.vectorize, of numba.extending.intrinsic
            value = getattr(value, part, value)
        source = python(value)
        if isinstance(source, FunctionType):
            if value is source and source.__module__.partition(".")[0] in BY_VERSION:
                return "function", source.__module__, source.__qualname__
            self.found.callees.append(value)
            return ("callee",)
        if isinstance(value, BuiltinFunctionType):
            return "built-in", value.__module__, value.__qualname__
        return "object", _title(type(value)), ADDRESS.sub("", repr(value))


def _title(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _names(code: CodeType) -> Iterable[str]:
    """Names of globals and attributes in a function and in the functions nested in it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _code(code: CodeType) -> tuple:
    """A function's code, without its position in the file."""
    constants = [_code(c) if isinstance(c, CodeType) else _constant(c) for c in code.co_consts]
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    arguments = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    return code.co_code, getattr(code, "co_exceptiontable", b""), names, arguments, constants


def _constant(value: Any) -> Any:
    if isinstance(value, frozenset):  # its order varies between processes
        return sorted(map(repr, value))
    return repr(value)


# -- code that is compiled already ---------------------------------------------------------------------

_COMPILED_FROM: WeakKeyDictionary[Any, tuple[list, list]] = WeakKeyDictionary()


def refreshed_key(functions: Iterable[Any]) -> str:
    """The same as `code_key`; first drops machine code in this process that was compiled from other values.

    A module may have been reloaded or a constant replaced, and machine code from the disk cache of a function
    with `cache=True` may be of any age. That cache is made to use `code_key`, too.
    """
    found = reachable(functions)
    stale = set()
    for d in found:
        now, before = (d.values, d.callees), _COMPILED_FROM.get(d.function)
        _COMPILED_FROM[d.function] = now
        if before != now if before is not None else _is_compiled(d.function):
            stale.add(id(d.function))
        key_disk_cache(d.function)
    size = -1
    while stale and size != len(
        stale
    ):  # callers of stale functions are stale: they contain the code
        size = len(stale)
        stale |= {id(d.function) for d in found if any(id(c) in stale for c in d.callees)}
    for d in found:
        if id(d.function) in stale and _is_compiled(d.function):
            _forget(d.function)
    return _key_of(found)


_ON_CUDA = (
    "_CUDATypingContext__dispatcher"  # where numba-cuda keeps its version of an `njit` function
)


def _is_compiled(function: Any) -> bool:
    on_cuda = _ON_CUDA in getattr(function, "__dict__", {})
    return on_cuda or bool(getattr(function, "overloads", None))


def _forget(function: Any) -> None:
    function.__dict__.pop(_ON_CUDA, None)
    if function.overloads:
        function._make_finalizer()()
        function._reset_overloads()


def disk_cached(function: Any) -> Any:
    """Decorator: like `@njit(cache=True)`, with `code_key` as the key of the disk cache."""
    return key_disk_cache(njit(cache=True)(function))


def key_disk_cache(function: Any) -> Any:
    """Add `code_key` to the key of a compiled function's disk cache, if it has one; returns the function."""
    cache = getattr(function, "_cache", None)
    theirs = getattr(cache, "_index_key", None)
    if cache is not None and theirs is not None and "_index_key" not in vars(cache):
        cache._index_key = lambda *of: (*theirs(*of), code_key([function]))
    return function
