"""A tiny random Llama with a tokenizer of one token a character, saved as a folder that `--model` takes."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch

CHARACTERS = string.ascii_letters + string.digits + " .,?!+-*=()[]:'\"\n_"
SPECIAL = ("<pad>", "<eos>", "<unk>", "<sys>", "<user>", "<it>")
CONTEXT = 160
CHAT = (
    "{% for m in messages %}"
    "{{ {'system': '<sys>', 'user': '<user>', 'assistant': '<it>'}[m['role']] }}{{ m['content'] }}"
    "{% endfor %}{% if add_generation_prompt %}<it>{% endif %}"
)


def tokenizer(characters: str = CHARACTERS, chat: bool = True) -> Any:
    """One token a character; the marks of a conversation are single tokens too."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [*SPECIAL, *characters]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    inner.decoder = decoders.Fuse()
    outer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        additional_special_tokens=list(SPECIAL[3:]),
    )
    outer.chat_template = CHAT if chat else None
    return outer


def model(vocabulary: int, tied: bool = False, hidden: int = 32, seed: int = 0) -> Any:
    """Two layers; weights depend on the seed alone."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=tied,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
        initializer_range=0.1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


def save(folder: Path, tied: bool = False, chat: bool = True, seed: int = 0) -> Path:
    """The folder, with model and tokenizer in it."""
    words = tokenizer(chat=chat)
    model(len(words), tied, seed=seed).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
