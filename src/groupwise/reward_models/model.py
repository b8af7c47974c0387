"""A language model with a scalar head: transformers' sequence classification with one label.

It computes in float32: a score in bfloat16 has 8 bits, and siblings would tie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from groupwise.models import Lora, ModelError, Say, resolve, unreadable, with_adapter

BATCH_TOKENS = 4096
"""Tokens, padding included, that are scored at the same time; changes memory and speed, not results."""


class RewardModel:
    """Texts to scores, one float32 each, in nats: a difference of scores is the log-odds of a preference."""

    def __init__(self, module: Any, tokenizer: Any, max_tokens: int) -> None:
        """Of a text that has more than `max_tokens` only the end is read.

        Raises:
            ModelError: nothing to pad with.
        """
        self.module, self.tokenizer = (
            module.eval(),
            tokenizer,
        )  # no dropout: a score is a function of its text
        self.pad = _padding(module, tokenizer)
        places = getattr(module.config.get_text_config(), "max_position_embeddings", None)
        self.max_tokens = min(max_tokens, places or max_tokens)
        tokenizer.truncation_side = "left"
        module.config.use_cache = False

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text. The name of a special token inside a text is read letter by letter."""
        if not texts:
            return []
        found = self.tokenizer(
            list(texts), truncation=True, max_length=self.max_tokens, split_special_tokens=True
        )
        return [list(ids) for ids in found["input_ids"]]

    def scores(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Token ids of n texts -> [n] with gradient, read at each text's last token.

        Padding is on the right: it changes neither the positions of a text nor what its tokens see.
        """
        ids = torch.full((len(rows), max(map(len, rows))), self.pad)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row)], mask[i, : len(row)] = torch.tensor(row), 1
        device = next(self.module.parameters()).device
        out = self.module(input_ids=ids.to(device), attention_mask=mask.to(device))
        return out.logits[:, 0].float()

    @torch.no_grad()
    def judged(self, rows: Sequence[Sequence[int]], tokens: int = BATCH_TOKENS) -> np.ndarray:
        """[n] float64; rows that are equal are read once."""
        place: dict[tuple[int, ...], int] = {}
        at = [place.setdefault(tuple(row), len(place)) for row in rows]
        distinct = list(place)
        scores = np.empty(len(distinct))
        for batch in batches([(1, len(row)) for row in distinct], tokens):
            scores[batch] = self.scores([distinct[i] for i in batch]).cpu().numpy()
        return scores[at]

    def merge(self) -> None:
        """Put a LoRA adapter into the weights."""
        if hasattr(self.module, "merge_and_unload"):
            self.module = self.module.merge_and_unload().eval()


def begin(
    name: str,
    device: torch.device,
    max_tokens: int,
    seed: int,
    lora: Lora | None = None,
    say: Say = lambda _: None,
) -> RewardModel:
    """A reward model to train: a language model under a new head, drawn by `seed`.

    Raises:
        ModelError: naming the model and the reason.
    """
    source = resolve(name, say)
    module, tokenizer, _ = _pretrained(source, name, seed, num_labels=1)
    if lora is not None:
        module = with_adapter(module, lora, task="SEQ_CLS")
    return RewardModel(module.to(device), tokenizer, max_tokens)


def trained(source: Path | str, device: torch.device, max_tokens: int = 1 << 30) -> RewardModel:
    """A reward model by folder or hub id.

    Raises:
        ModelError: it cannot be read, or gives no single score.
    """
    module, tokenizer, missing = _pretrained(source, str(source))
    labels = int(module.config.num_labels)
    if labels != 1 or missing:
        what = f"it gives {labels} numbers" if labels != 1 else f"it lacks {', '.join(missing)}"
        raise ModelError(
            f"{source} is no reward model: {what}. One with a single score is needed; "
            "make one: groupwise reward train pairs.jsonl"
        )
    return RewardModel(module.to(device), tokenizer, max_tokens)


def batches(shapes: Sequence[tuple[int, int]], tokens: int) -> Iterator[list[int]]:
    """Numbers of items, long ones first, cut so that rows x longest is at most `tokens`, or of one item.

    An item is (its rows, the length of the longest).
    """
    batch: list[int] = []
    rows = longest = 0
    for i in sorted(range(len(shapes)), key=lambda i: -shapes[i][1]):
        if batch and (rows + shapes[i][0]) * longest > tokens:
            yield batch
            batch, rows = [], 0
        longest = longest if batch else shapes[i][1]
        batch.append(i)
        rows += shapes[i][0]
    if batch:
        yield batch


def _pretrained(source: Path | str, name: str, seed: int = 0, **more: Any) -> tuple[Any, Any, list[str]]:
    """Model, tokenizer, and the weights that were not there and so were drawn."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # it warns that the head is new
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module, info = AutoModelForSequenceClassification.from_pretrained(
                source, dtype=torch.float32, trust_remote_code=False, output_loading_info=True, **more
            )
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, UnpicklingError) as error:
        raise unreadable(name, error) from error
    finally:
        logging.set_verbosity(before)
    return module, tokenizer, sorted(info["missing_keys"])


def _padding(module: Any, tokenizer: Any) -> int:
    """The token to pad with, which model and tokenizer then agree on.

    transformers reads a score at the last token that is not the padding of the model's configuration:
    without one, or with another than what was padded with, it reads the padding.
    """
    text = module.config.get_text_config()
    rows = module.get_input_embeddings().num_embeddings
    candidates = (text.pad_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id)
    pad = next((int(i) for i in candidates if i is not None and 0 <= i < rows), None)
    if pad is None:
        raise ModelError(
            "the model has no token to pad with: neither its configuration nor its tokenizer names a "
            "padding or an end-of-sequence token. Set pad_token in its tokenizer_config.json."
        )
    text.pad_token_id = module.config.pad_token_id = pad
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
    tokenizer.padding_side = "right"
    return pad
