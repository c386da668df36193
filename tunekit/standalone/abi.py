"""What the header of all libraries declares, as ctypes reads it."""

from __future__ import annotations

import ctypes

ABI_VERSION = 1


class COptions(ctypes.Structure):
    """C's tunekit_options."""

    _fields_ = [
        ("struct_bytes", ctypes.c_uint32),
        ("threads", ctypes.c_int32),
        ("spin_us", ctypes.c_int32),
        ("pin", ctypes.c_int32),
        ("weights", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
        ("callbacks", ctypes.c_void_p * 5),
    ]


class CTensor(ctypes.Structure):
    """C's tunekit_tensor."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("dtype", ctypes.c_char_p),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("reserved", ctypes.c_uint16),
        ("bytes", ctypes.c_size_t),
    ]


class CAxis(ctypes.Structure):
    """C's tunekit_axis."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("sizes", ctypes.POINTER(ctypes.c_int64)),
        ("count", ctypes.c_int32),
        ("padded", ctypes.c_int32),
    ]


class CEvent(ctypes.Structure):
    """C's tunekit_event."""

    _fields_ = [
        ("kernel", ctypes.c_char_p),
        ("begin_ns", ctypes.c_int64),
        ("end_ns", ctypes.c_int64),
        ("step", ctypes.c_int32),
        ("task", ctypes.c_int32),
        ("thread", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    ]


_MODEL, _INT, _TEXT = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p


class CApi(ctypes.Structure):
    """C's tunekit_api."""

    _fields_ = [
        ("abi_version", ctypes.c_uint32),
        ("struct_bytes", ctypes.c_uint32),
        ("name", _TEXT),
        (
            "open",
            ctypes.CFUNCTYPE(_INT, ctypes.POINTER(_MODEL), ctypes.POINTER(COptions)),
        ),
        ("close", ctypes.CFUNCTYPE(None, _MODEL)),
        ("inputs", ctypes.CFUNCTYPE(ctypes.c_int32, _MODEL)),
        ("outputs", ctypes.CFUNCTYPE(ctypes.c_int32, _MODEL)),
        (
            "describe_input",
            ctypes.CFUNCTYPE(ctypes.POINTER(CTensor), _MODEL, ctypes.c_int32),
        ),
        (
            "describe_output",
            ctypes.CFUNCTYPE(ctypes.POINTER(CTensor), _MODEL, ctypes.c_int32),
        ),
        (
            "bind_input",
            ctypes.CFUNCTYPE(_INT, _MODEL, ctypes.c_int32, ctypes.c_void_p, ctypes.c_size_t),
        ),
        (
            "bind_output",
            ctypes.CFUNCTYPE(_INT, _MODEL, ctypes.c_int32, ctypes.c_void_p, ctypes.c_size_t),
        ),
        ("run", ctypes.CFUNCTYPE(_INT, _MODEL)),
        ("output", ctypes.CFUNCTYPE(ctypes.c_void_p, _MODEL, ctypes.c_int32)),
        ("threads", ctypes.CFUNCTYPE(ctypes.c_int32, _MODEL)),
        ("error", ctypes.CFUNCTYPE(_TEXT, _MODEL)),
        ("self_test", ctypes.CFUNCTYPE(_INT, _MODEL)),
        ("cpu_ok", ctypes.CFUNCTYPE(_INT)),
        ("manifest", ctypes.CFUNCTYPE(_TEXT)),
        ("axes", ctypes.CFUNCTYPE(ctypes.c_int32, _MODEL)),
        (
            "describe_axis",
            ctypes.CFUNCTYPE(ctypes.POINTER(CAxis), _MODEL, ctypes.c_int32),
        ),
        (
            "input_axis",
            ctypes.CFUNCTYPE(ctypes.c_int32, _MODEL, ctypes.c_int32, ctypes.c_int32),
        ),
        (
            "set_sizes",
            ctypes.CFUNCTYPE(_INT, _MODEL, ctypes.POINTER(ctypes.c_int64), ctypes.c_int32),
        ),
        ("size", ctypes.CFUNCTYPE(ctypes.c_int64, _MODEL, ctypes.c_int32)),
        (
            "trace",
            ctypes.CFUNCTYPE(
                *(_INT, _MODEL, ctypes.POINTER(CEvent)),
                *(ctypes.c_int32, ctypes.POINTER(ctypes.c_int32)),
            ),
        ),
    ]

    @property
    def has_axes(self) -> bool:
        """Whether the functions for several sizes are there, which older libraries lack."""
        return int(self.struct_bytes) >= CApi.trace.offset

    @property
    def has_trace(self) -> bool:
        """Whether it tells what threads do, which older libraries do not."""
        return int(self.struct_bytes) >= ctypes.sizeof(CApi)
