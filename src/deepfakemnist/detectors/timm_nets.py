"""Detectors from timm models: Xception, CLIP's image encoder, and any other as ``timm:NAME``.

timm is imported when one of them is built: the import takes seconds, and the other detectors do not need it.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from torch import Tensor, nn

from deepfakemnist.detectors.base import HALF, DetectorConfig, DetectorSpec, Trainable
from deepfakemnist.detectors.weights import fetch_weights
from deepfakemnist.errors import ConfigError

log = logging.getLogger(__name__)

PREFIX = "timm:"
_CLIP_VIT = "vit_base_patch16_clip_224.openai"

_XCEPTION = DetectorConfig(
    name="xception",
    input_size=299,
    mean=HALF,
    std=HALF,
    weights=("none", "imagenet", "path"),
    source="arXiv 1610.02357; timm legacy_xception, block for block the network of FaceForensics++ (arXiv 1901.08971)",
    licence="Apache-2.0 (timm); ImageNet's terms for its images",
    recipe="FaceForensics++: Adam 2e-4, batches of 32, box 1.3 times the face, 299 px",
    learning_rate=2e-4,
    dropout=0.5,
)


def _clip(name: str, trainable: Trainable, learning_rate: float, recipe: str) -> DetectorConfig:
    return DetectorConfig(
        name=name,
        input_size=224,
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
        weights=("path", "none"),
        source="CLIP ViT-B/16 (arXiv 2103.00020) as a frozen encoder; timm, which also reads OpenAI's parameter names",
        licence="Apache-2.0 (timm); MIT (OpenAI's weights, to be given by path)",
        recipe=recipe,
        learning_rate=learning_rate,
        trainable=trainable,
        fixed_size=True,
    )


_PROBE = _clip("clip_probe", "head", 1e-3, "arXiv 2302.10174: a linear layer on frozen features")
_NORMS = _clip("clip_norms", "norms", 3e-4, "GenD: norms and the last layer only, 0.03 % of the parameters")


class TimmNetwork(nn.Module):
    """A timm backbone without classifier, followed by dropout and one logit.

    timm's legacy Xception discards the result of its dropout, so ``drop_rate`` would have no effect.
    """

    def __init__(self, name: str, image_size: int, dropout: float) -> None:
        super().__init__()
        timm = _timm()
        options: dict[str, Any] = {"pretrained": False, "num_classes": 0}
        try:
            if _default_cfg(name).get("fixed_input_size"):
                options["img_size"] = image_size
            self.body = timm.create_model(name, **options)
        except RuntimeError as error:
            raise ConfigError(f"timm cannot build {name!r}: {error}") from error
        self.name = name
        features = int(getattr(self.body, "head_hidden_size", None) or self.body.num_features)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, 1) of normalised images (B, 3, S, S)."""
        logits: Tensor = self.head(self.body(images))
        return logits


def timm_spec(name: str) -> DetectorSpec:
    """Return the registry entry of ``timm:NAME``. Raises: ConfigError when timm has no such model."""
    model = name.removeprefix(PREFIX)
    cfg = _default_cfg(model)
    config = DetectorConfig(
        name=name,
        input_size=int(cfg["input_size"][-1]),
        mean=tuple(cfg["mean"]),
        std=tuple(cfg["std"]),
        weights=("none", "imagenet", "path"),
        source=f"timm {model}",
        licence=f"Apache-2.0 (timm); weights: {cfg.get('license') or 'see timm'}",
        recipe="",
        learning_rate=1e-4,
    )
    return _spec(config, model)


def _spec(config: DetectorConfig, model: str) -> DetectorSpec:
    return DetectorSpec(config, partial(TimmNetwork, model), partial(_imagenet, model), _load)


def _timm() -> Any:
    import timm

    return timm


def _default_cfg(name: str) -> dict[str, Any]:
    timm = _timm()
    if not timm.is_model(name.split(".")[0]):
        similar = ", ".join(timm.list_models(f"{name[:8]}*")[:8])
        raise ConfigError(
            f"timm {timm.__version__} has no model {name!r}" + (f"; similar: {similar}" if similar else "")
        )
    try:
        values: dict[str, Any] = timm.get_pretrained_cfg(name, allow_unregistered=False).to_dict()
    except RuntimeError as error:
        raise ConfigError(f"timm has no weights {name!r}; omit the part after the dot, or use another tag") from error
    return values


def _imagenet(name: str) -> dict[str, Tensor]:
    cfg = _default_cfg(name)
    if cfg.get("url"):
        return fetch_weights(cfg["url"])
    from timm.models import load_state_dict_from_hf

    hub = cfg.get("hf_hub_id")
    where = f"weights: imagenet of {name} are on the Hugging Face hub ({hub})"
    manually = "download model.safetensors from there and set weights: {path: ..., sha256: ...}"
    if not hub:
        raise ConfigError(f"timm has no weights of {name}; set weights: none")
    try:
        state: dict[str, Tensor] = load_state_dict_from_hf(hub, weights_only=True)
    except Exception as error:  # from several libraries; without huggingface_hub the message says to install it
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"{where} and could not be downloaded ({reason}); {manually}, or set weights: none"
        ) from error
    return state


def _load(network: nn.Module, state: dict[str, Tensor]) -> None:
    """Load weights of any layout that timm can convert into a network without classifier."""
    assert isinstance(network, TimmNetwork)
    options: dict[str, Any] = {"pretrained_cfg_overlay": {"state_dict": state}, "num_classes": 0}
    size = getattr(getattr(network.body, "patch_embed", None), "img_size", None)
    if size:
        options["img_size"] = size
    pretrained = _timm().create_model(network.name, pretrained=True, **options)
    network.body.load_state_dict(pretrained.state_dict())


DETECTORS = (_spec(_XCEPTION, "legacy_xception"), _spec(_PROBE, _CLIP_VIT), _spec(_NORMS, _CLIP_VIT))
