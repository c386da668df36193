"""TVM's RPC server, made to survive the candidates that it measures.

`python -m tvm.exec.rpc_server` of this TVM serves nobody any more after one session that crashed
or whose client went away: its listening thread ends with an exception, its process stays. This
runs the same server and goes on. It also imports TVM once instead of twice, which makes it ready
in half the time. Needs nothing of tunekit but this file.

    python -m tunekit.rpc.device_server --tracker HOST:PORT --key KEY
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import time
from pathlib import Path
from typing import Any

_RETRY_S = 5.0


def main() -> None:
    """Serves until it is killed."""
    parser = argparse.ArgumentParser(
        prog="python -m tunekit.rpc.device_server",
        description="Offer this machine to an RPC tracker as a device to measure on.",
    )
    parser.add_argument("--tracker", required=True, metavar="HOST:PORT")
    parser.add_argument("--key", required=True, help="kind of device, the same for equal ones")
    parser.add_argument("--host", help="address to listen on; default: all of the tracker's kind")
    parser.add_argument("--port", type=int, default=9090, help="first port to try")
    parser.add_argument("--port-end", type=int, default=9199, help="port after the last to try")
    parser.add_argument("--custom-addr", help="address that others reach this machine under")
    parser.add_argument("--threads", type=int, help="of TVM's thread pool; default: TVM's choice")
    arguments = parser.parse_args()
    host, _, port = arguments.tracker.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit():
        parser.error(f"--tracker: {arguments.tracker!r} is not host:port")
    try:
        family = socket.getaddrinfo(host, int(port))[0][0]
    except (OSError, UnicodeError) as error:
        if getattr(error, "errno", None) != socket.EAI_AGAIN:
            parser.error(f"--tracker: {host} is no machine that is known here: {error}")
        family = socket.AF_INET  # The network is not there yet.
    if arguments.threads is not None:
        # Read when a session's process makes its thread pool.
        os.environ["TVM_NUM_THREADS"] = str(arguments.threads)
    # Clients come to the address under which the tracker sees this machine.
    any_address = "::" if family == socket.AF_INET6 else "0.0.0.0"
    listener = _listen(arguments.host or any_address, arguments.port, arguments.port_end)
    serve(listener, (host, int(port)), arguments.key, custom_address=arguments.custom_addr)


def serve(
    listener: socket.socket, tracker: tuple[str, int], key: str, *, custom_address: str | None
) -> None:
    """Serves sessions on a listening socket, registered with a tracker; does not return."""
    from tvm.rpc import base, server

    logger = logging.getLogger("RPCServer")
    one_session, connect = server._serving, base.connect_with_retry

    def guarded(connection: socket.socket, *arguments: Any) -> None:
        folder = Path.cwd()
        try:
            one_session(connection, *arguments)
        except (RuntimeError, OSError) as error:
            logger.warning("%s; going on", str(error).strip().splitlines()[-1])
            # What the interrupted function would have done next.
            os.chdir(folder)
            connection.close()

    def patient(address: tuple[str, int]) -> socket.socket:
        # TVM tries again at once, for ever, where a network is down, and gives up after a minute
        # where only the tracker is.
        while True:
            try:
                found: socket.socket = connect(address)
            except (OSError, RuntimeError) as error:
                logger.warning("no tracker at %s port %d: %s; trying again", *address, error)
                time.sleep(_RETRY_S)
            else:
                return found

    server._serving, base.connect_with_retry = guarded, patient
    server._listen_loop(listener, listener.getsockname()[1], key, tracker, None, custom_address)


def _listen(host: str, first: int, end: int) -> socket.socket:
    for port in range(first, end):
        listener = socket.socket(socket.getaddrinfo(host, port)[0][0], socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            listener.close()
            continue
        listener.listen(1)
        return listener
    raise SystemExit(f"no free port from {first} to {end - 1}")


if __name__ == "__main__":
    main()
