"""Silence for frameworks that print, warn and log while they load, export and convert."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

_STREAMS = (1, 2)
_LOGGERS = ("torch", "torch.onnx", "torch.export", "onnx", "onnxscript", "onnx_ir", "tvm")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing reaches standard output or standard error inside, also not from C++.

    Both belong to the whole process, so keep the block short and report progress outside of it.
    What is raised inside passes through.
    """
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(stream) for stream in _STREAMS]
    try:
        with (
            tempfile.TemporaryFile() as sink,
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            for name in _LOGGERS:
                logging.getLogger(name).setLevel(logging.CRITICAL)
            for stream in _STREAMS:
                os.dup2(sink.fileno(), stream)
            yield
    finally:
        for stream, copy in zip(_STREAMS, saved, strict=True):
            os.dup2(copy, stream)
            os.close(copy)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def abandon(builder: Any) -> None:
    """Ends what an exception left open in a Relax block builder, which would be told later."""
    with contextlib.suppress(Exception):
        builder._end_block()
