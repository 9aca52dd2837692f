"""HTTP server of the simulated vendors on the loopback address (werkzeug)."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request

from deepfakemnist.errors import ConfigError
from deepfakemnist.liveness.simulator.baidu import SimulatedBaidu
from deepfakemnist.liveness.simulator.contract import Account, Contract, fault_response, faulty, json_response
from deepfakemnist.liveness.simulator.motion_services import SimulatedLinkface, SimulatedTianyan
from deepfakemnist.liveness.simulator.witness import Witness

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

#: Reachable from this machine only.
HOST = "127.0.0.1"
_COMMON_FAULTS = {
    "error", "drop", "hang", "truncated", "envelope", "timeout", "early", "too_large", "redirect",
}  # fmt: skip


class Simulator:
    """WSGI application of all simulated vendors; ``account`` records what was billed."""

    def __init__(self, contract: Contract, witness: Witness) -> None:
        self.contract = contract
        self.account = Account(contract, witness)
        vendors = (SimulatedBaidu(self.account), SimulatedTianyan(self.account), SimulatedLinkface(self.account))
        self._vendors = {path: vendor for vendor in vendors for path in vendor.paths}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request, or inject a fault."""
        arrived = time.time()
        request = Request(environ)
        # Room for 20 MB as base64, the largest upload of any vendor; the vendor's own limit rejects larger ones.
        request.max_form_memory_size = 64_000_000
        vendor = self._vendors.get(request.path)
        if vendor is None or request.method not in ("GET", "POST"):
            return json_response({"message": f"there is no {request.path}"}, 404)(environ, start_response)
        request.get_data(cache=True, parse_form_data=True)
        fault = self.account.faults.next_fault()
        if fault in _COMMON_FAULTS:
            response = fault_response(fault, self.contract.faults)
            self.account.log_request(arrived, request, fault, response.status_code if response else 0)
            if response is None:
                _drop_connection(environ)
            return response(environ, start_response)
        if fault == "slow":
            time.sleep(self.contract.faults.slow_s)
        sent = faulty(vendor(request, fault), fault, request, self.contract.faults)
        self.account.log_request(arrived, request, fault, sent.status_code if sent else 0)
        if sent is None:
            _drop_connection(environ)
        return sent(environ, start_response)


@contextmanager
def running(simulator: Simulator, port: int = 0) -> Iterator[str]:
    """Serve in the background, one thread per request, and yield the base URL.

    Args:
        simulator: the application.
        port: port to listen on; 0 picks a free one.

    Raises:
        ConfigError: the port is taken.
    """
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    try:
        server = make_server(HOST, port, simulator, threaded=True, request_handler=_QuietHandler)
    except (OSError, SystemExit):
        raise ConfigError(f"port {port} is already in use; choose another one with --port") from None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _QuietHandler(WSGIRequestHandler):
    """Logs no requests, because their URLs contain access tokens."""

    def log(self, type: str, message: str, *args: Any) -> None:
        """Log nothing."""


def _drop_connection(environ: WSGIEnvironment) -> NoReturn:
    connection: socket.socket = environ["werkzeug.socket"]
    connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError  # the server then sends no response
