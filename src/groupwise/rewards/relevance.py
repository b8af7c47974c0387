"""Relevance: how near the answer's meaning is to the prompt's, by embeddings, or by words without a model."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import numpy as np

from groupwise.rewards.frozen import as_utf8, named
from groupwise.rewards.overlap import asked, copied
from groupwise.rewards.words import Completion, content_words, plain, text_of, words

if TYPE_CHECKING:
    import torch

RUN = 4
"""Words in a row that count as copied from the prompt; all of a prompt that has fewer."""
CHARACTERS, TOKENS = 8192, 512
"""Of a text, its first characters are read, and by an embedding of these the first tokens at most."""
BATCH = 16
"""Texts in one forward pass; changes memory, not values."""
ANYTHING = (
    "The weather is mild today.",
    "She walked to the shop and bought some bread.",
    "Water boils at one hundred degrees.",
    "The meeting was moved to Thursday.",
    "Write a short text.",
    "In 1998 the company opened an office in Paris.",
    "def add(a, b): return a + b",
    "He said that he would call back later.",
    "What is the best way to learn a language?",
    "The results are shown in the table below.",
    "First, mix the flour with the eggs.",
    "The river flows into the sea.",
)
"""Texts about nothing in particular. Mean hidden states of any two texts are much alike; these say how."""

Embed = Callable[[Sequence[str]], np.ndarray]
"""[n] texts -> [n, width] float64."""


def relevance(settings: str = "", device: torch.device | None = None) -> Callable[..., list[float | None]]:
    """max(0, cosine) · (1 − copied), in [0, 1]: cosine between what stands for the prompt and the answer.

    copied = share of the answer's words in runs of `RUN` taken from the prompt: to repeat the question earns
    nothing. 0 for an answer without a word, None where the prompt has none. Of a conversation the last user
    message counts. Texts are plain (words.plain), their first `CHARACTERS`. No value depends on the batch.

    Without settings, by words: shared ÷ √(own · other) over distinct content words, the cosine of two sets,
    so that a word said twice counts once. There is no weight by rarity: it would need a corpus.
    With a model (folder, hub id or pip:PACKAGE), by embeddings: as sentence-transformers has it where the
    model is one of its own, else the mean of the last hidden states less their mean over `ANYTHING`
    (arXiv 1702.01417; there over the vocabulary). It is on `device`, the best one unless given.

    Raises:
        ModelError: there is no such model. It is loaded when the first answers are scored.
    """
    near = _by_meaning(named(settings), device) if settings else _by_words

    def relevant(
        prompts: Sequence[Completion], completions: Sequence[Completion], **columns: Any
    ) -> list[float | None]:
        pairs = [(_cut(asked(p)), _cut(text_of(c))) for p, c in zip(prompts, completions, strict=True)]
        said = [(words(a), words(b)) for a, b in pairs]
        rows = [i for i, (source, answer) in enumerate(said) if source and answer]
        values: list[float | None] = [0.0 if source else None for source, _ in said]
        for i, cosine in zip(rows, near([pairs[i] for i in rows]), strict=True):
            source, answer = said[i]
            values[i] = min(1.0, max(0.0, cosine)) * (1 - copied(answer, source, min(RUN, len(source))))
        return values

    return relevant


def _cut(text: str) -> str:
    return as_utf8(plain(text[: 4 * CHARACTERS]))[:CHARACTERS]


Pairs = Sequence[tuple[str, str]]


def _by_words(pairs: Pairs) -> list[float]:
    sets = [(set(content_words(a)), set(content_words(b))) for a, b in pairs]
    return [len(a & b) / math.sqrt(len(a) * len(b)) if a and b else 0.0 for a, b in sets]


def _by_meaning(name: str, device: torch.device | None) -> Callable[[Pairs], list[float]]:
    def cosines(pairs: Pairs) -> list[float]:
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        if not texts:
            return []
        rows = embedder(name, device)(texts)
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        place = {text: i for i, text in enumerate(texts)}
        return [float(rows[place[a]] @ rows[place[b]]) for a, b in pairs]

    return cosines


# ---------------------------------------------------------------- embeddings


def embedder(name: str, device: torch.device | None = None) -> Embed:
    """Embeddings by the model of that name, loaded on the device, the best one unless given, and kept.

    Raises:
        ModelError: it cannot be loaded, or is one of sentence-transformers, which is not installed.
    """
    from groupwise.precision import best_device

    return _embedder(name, device or best_device())


@functools.cache
def _embedder(name: str, device: torch.device) -> Embed:
    from groupwise.models import ModelError, resolve

    source = resolve(name)
    if _is_sentence_transformer(source):
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise ModelError(
                f"{name} is a model of sentence-transformers: pip install -e '.[embeddings]'"
            ) from error
        model = SentenceTransformer(str(source), device=str(device))
        return lambda texts: model.encode(list(texts), batch_size=BATCH, show_progress_bar=False).astype(
            np.float64
        )
    states = _MeanStates(name, source, device)
    common = states(ANYTHING).mean(0)
    return lambda texts: states(texts) - common


def _is_sentence_transformer(source: Path | str) -> bool:
    from transformers.utils import cached_file

    if isinstance(source, Path):
        return (source / "modules.json").is_file()
    return cached_file(source, "modules.json", _raise_exceptions_for_missing_entries=False) is not None


class _MeanStates:
    """The mean over a text's tokens of a model's last hidden states."""

    def __init__(self, name: str, source: Path | str, device: torch.device) -> None:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        from groupwise.models import unreadable
        from groupwise.precision import best_dtype

        disable_progress_bar()
        try:
            self._model = AutoModel.from_pretrained(source, dtype=best_dtype(device)).to(device).eval()
            self._tokenizer = AutoTokenizer.from_pretrained(source)
        except (OSError, ValueError, KeyError, UnpicklingError) as error:
            raise unreadable(name, error) from error
        context = getattr(self._model.config.get_text_config(), "max_position_embeddings", None) or TOKENS
        self._most = min(TOKENS, context)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        import torch

        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        rows: list[Any] = [None] * len(texts)
        for at in range(0, len(order), BATCH):
            some = order[at : at + BATCH]
            tokens = [self._tokenizer.encode(texts[i], split_special_tokens=True)[: self._most] for i in some]
            with torch.no_grad():
                for i, row in zip(some, self._means(tokens), strict=True):
                    rows[i] = row
        return np.array(rows)

    def _means(self, tokens: Sequence[Sequence[int]]) -> np.ndarray:
        """Short texts are filled up on the right with tokens that nobody attends to."""
        import torch

        longest = max(map(len, tokens))
        ids = torch.tensor([[*t, *[0] * (longest - len(t))] for t in tokens], device=self._model.device)
        mask = torch.tensor([[1] * len(t) + [0] * (longest - len(t)) for t in tokens], device=ids.device)
        states = self._model(input_ids=ids, attention_mask=mask).last_hidden_state.double()
        means = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return means.cpu().numpy()
