"""Bytes of the frozen models that rewards hold beside the one in training."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from groupwise.models import ModelError, Say, resolve
from groupwise.precision import best_dtype
from groupwise.rewards.catalogue import Held, held_by


def held(specs: Sequence[str], device: torch.device, say: Say) -> int:
    """Of their weights; what they compute with comes and goes while nothing else computes.

    Rewards that ask the same language model share it; each reward model is loaded by itself. A model whose
    size its configuration does not tell is said and not counted: it may load all the same.
    """
    asked = [model for spec in specs for model in held_by(spec)]
    alike = dict.fromkeys(model for model in asked if not model.exact)
    return sum(_bytes(model, device, say) for model in (*alike, *(m for m in asked if m.exact)))


def _bytes(model: Held, device: torch.device, say: Say) -> int:
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(resolve(model.name, say))
        with torch.device("meta"):
            empty = getattr(transformers, f"AutoModel{model.head}").from_config(config)
    except (ModelError, OSError, ValueError, KeyError) as error:
        say(f"{model.name}: its size is not known and not counted ({error})")
        return 0
    width = 4 if model.exact else best_dtype(device).itemsize
    return width * sum(parameter.numel() for parameter in empty.parameters())
