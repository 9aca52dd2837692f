"""Simulated liveness vendors, and small clips to send to them."""

import hashlib
from contextlib import contextmanager
from threading import Thread

import numpy as np

from deepfakemnist.config.liveness import (
    BaiduPictureSettings,
    BaiduSettings,
    LinkfaceSettings,
    TianyanSettings,
    UploadSettings,
)
from deepfakemnist.liveness.keys import SECRETS
from deepfakemnist.liveness.protocol import Clip
from deepfakemnist.liveness.simulator.contract import KEYS, Contract
from deepfakemnist.liveness.simulator.faults import FaultPlan
from deepfakemnist.media.pixels import pixels_sha256

CLASSES = {
    "baidu": BaiduSettings,
    "baidu-picture": BaiduPictureSettings,
    "tianyan": TianyanSettings,
    "linkface": LinkfaceSettings,
}
#: Motions as in config/actions.tsv, for the actions used by tests.
MOTIONS = {
    "baidu": {"blink": "0", "yaw": "7", "smile": ""},
    "baidu-picture": {},
    "tianyan": {"blink": "BLINK", "yaw": "YAW", "smile": ""},
    "linkface": {"blink": "BLINK", "yaw": "YAW", "smile": ""},
}
#: Environment variable → key accepted by the simulator.
ENVIRONMENT = {
    name: KEYS["id" if place == 0 else "secret"] for pair in SECRETS.values() for place, name in enumerate(pair)
}


@contextmanager
def vendors(witness=None, faults=None, **contract):
    """Yield the simulator and its base URL; it answers from hashes unless a witness is given."""
    # Imported lazily, because liveness_job.py needs none of it and must start quickly.
    from deepfakemnist.liveness.simulator.server import Simulator, running
    from deepfakemnist.liveness.simulator.witness import HashWitness

    simulator = Simulator(Contract(faults=faults or FaultPlan(), **contract), witness or HashWitness())
    with running(simulator) as address:
        yield simulator, address


@contextmanager
def serving(app):
    """Serve a WSGI application and yield its base URL."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *_):
            """Log nothing."""

    server = make_server("127.0.0.1", 0, app, request_handler=Quiet)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def scripted(*replies):
    """Respond with ``replies``, (status, headers, text) each, in order; yield the base URL."""
    from werkzeug.wrappers import Response

    left = list(replies)

    def app(environ, start_response):
        status, headers, text = left.pop(0)
        return Response(text, status=status, headers=headers)(environ, start_response)

    with serving(app) as address:
        yield address
    assert not left, "fewer requests than replies"


def settings_for(provider, address, **more):
    """Settings with rates and timeouts fit for a test."""
    quick = {"qps": 1000, "read_timeout_s": 5, "upload": UploadSettings(min_side=32, min_seconds=0.2)}
    return CLASSES[provider](provider=provider, base_url=address, **{**quick, **more})


def small_clip(number, frames=6, side=32):
    """A clip of noise, seeded by ``number``."""
    seed = int.from_bytes(hashlib.sha256(str(number).encode()).digest()[:4])
    noise = np.random.default_rng(seed).integers(0, 256, (frames, side, side, 3), dtype=np.uint8)
    return Clip(noise, 25.0, pixels_sha256(noise))
