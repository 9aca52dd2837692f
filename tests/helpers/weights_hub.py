"""Loopback stand-in for the hub that timm downloads weights from, with weights of its smallest network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import timm
import torch
from safetensors.torch import save
from simulated_vendors import serving
from werkzeug.wrappers import Request, Response

#: timm's network for tests, 0.5 million parameters, whose weights are on the hub alone.
NETWORK = "timm:test_resnet.r160_in1k"


@contextmanager
def weights_hub(requests: list[str]) -> Iterator[dict[str, str]]:
    """Yield the environment variables that lead to the hub; its requests are appended to a list."""
    torch.manual_seed(5)
    content = save(timm.create_model("test_resnet").state_dict())
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": "0" * 40}

    @Request.application
    def app(request: Request) -> Response:
        requests.append(f"{request.method} {request.path}")
        if not request.path.endswith("/resolve/main/model.safetensors"):
            return Response(status=404)
        return Response(content, headers=headers, content_type="application/octet-stream")

    with serving(app) as address:
        yield {"HF_ENDPOINT": address, "HF_HUB_DISABLE_XET": "1"}
