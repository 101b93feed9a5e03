"""A Hugging Face encoder: token ids of texts, and the states of its last layer.

The only module that imports ``transformers`` (the extra ``[text]``).
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.errors import BenchmarkError
from benchmark.hygiene import one_line

Tokens = list[int]


@dataclass(frozen=True)
class EncoderFacts:
    """What an encoder is.

    Attributes:
        name: as the user named it; of a folder its last part.
        revision: the hub's commit, where it came from there.
        sha256: over the weights.
        width: channels of a state.
    """

    name: str
    revision: str | None
    sha256: str
    width: int


class Encoder(Protocol):
    """What turns texts into token states."""

    @property
    def facts(self) -> EncoderFacts:
        """Which encoder it is."""

    @property
    def limit(self) -> int:
        """The most tokens that it takes."""

    def tokenize(self, texts: Sequence[str], limit: int) -> list[Tokens]:
        """The token ids of each text, special tokens included, at most ``limit``."""

    @property
    def unknown(self) -> int | None:
        """The token that stands for what the encoder does not know; None if it knows all."""

    @property
    def special(self) -> frozenset[int]:
        """The tokens that stand for no part of a text, the unknown one among them."""

    def full_lengths(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text, uncut."""

    def states(self, batch: Sequence[Tokens]) -> list[NDArray[np.float32]]:
        """(L, width) states of each member of a batch."""


class HuggingFaceEncoder:
    """Any encoder, or the encoder half, that ``transformers.AutoModel`` can load."""

    def __init__(self, name_or_folder: str, device: torch.device) -> None:
        transformers = _library()
        folder = Path(name_or_folder).expanduser()
        local = folder.is_dir()
        source = str(folder) if local else name_or_folder
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, local_files_only=local)
            model = transformers.AutoModel.from_pretrained(
                source, local_files_only=local, dtype=torch.float32
            )
        except Exception as error:  # noqa: BLE001 — damaged files make the libraries raise anything
            raise _cannot_load(name_or_folder, local, error) from None
        self.tokenizer = tokenizer
        self.padding = tokenizer.pad_token_id or 0
        self.unknown: int | None = tokenizer.unk_token_id
        self.special = frozenset(tokenizer.all_special_ids)
        revision = getattr(model.config, "_commit_hash", None)
        if model.config.is_encoder_decoder:
            model = model.get_encoder()
        self.model = model.to(device).eval()
        self.device = device
        name = folder.resolve().name if local else name_or_folder
        width = int(model.config.hidden_size)
        self.facts = EncoderFacts(name, revision, _weights_sha256(model.state_dict()), width)
        self.limit = int(getattr(model.config, "max_position_embeddings", None) or 2**20)

    def tokenize(self, texts: Sequence[str], limit: int) -> list[Tokens]:
        """The token ids of each text; see :class:`Encoder`."""
        if limit > self.limit:
            raise BenchmarkError(
                f"encoder {self.facts.name} takes {self.limit} tokens: lower --max-tokens."
            )
        encoded = self.tokenizer(list(texts), truncation=True, max_length=limit)
        ids: list[Tokens] = encoded["input_ids"]
        return ids

    def full_lengths(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text, uncut; see :class:`Encoder`."""
        return [len(ids) for ids in self.tokenizer(list(texts), verbose=False)["input_ids"]]

    @torch.inference_mode()
    def states(self, batch: Sequence[Tokens]) -> list[NDArray[np.float32]]:
        """(L, width) states of the last layer; padding is on the right and attended by nothing."""
        longest = max(map(len, batch))
        ids = torch.full((len(batch), longest), self.padding)
        mask = torch.zeros((len(batch), longest), dtype=torch.long)
        for k, tokens in enumerate(batch):
            ids[k, : len(tokens)] = torch.tensor(tokens)
            mask[k, : len(tokens)] = 1
        output = self.model(input_ids=ids.to(self.device), attention_mask=mask.to(self.device))
        states: Tensor = output.last_hidden_state.float().cpu()
        return [states[k, : len(tokens)].numpy() for k, tokens in enumerate(batch)]


def _library() -> Any:
    os.environ.update(HF_HUB_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1")  # read at the import
    try:
        import transformers
    except ImportError:
        raise BenchmarkError(
            "encoding transcripts needs the package transformers: pip install"
            " 'robust-msa-benchmark[text]' (in a clone: pip install -e '.[text]')."
        ) from None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # our message says it once
    return transformers


def _cannot_load(name: str, local: bool, error: Exception) -> BenchmarkError:
    reason = one_line(error, 300) or type(error).__name__
    hint = (
        "A folder must hold config.json, the weights and the tokenizer's files."
        if local
        else "There is no folder of that name here, and it could not be had from the Hugging Face"
        " hub. Without a network, give the folder of a downloaded encoder."
    )
    return BenchmarkError(f"encoder '{name}' cannot be loaded. {hint} ({reason})")


def _weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """Over names, shapes and values: the same wherever the encoder was loaded from."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        values = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(values.shape)} {values.dtype}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
