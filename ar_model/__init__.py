"""The autoregressive model: sequence layout, transformer, sampling and the generation engine.

In:  token ids of the visual and motion tokenizers. Out: token ids, hidden states and losses.
Imports torch only and does no file or network access; every error is a ``ValueError``.
Read in this order: config, sequence, rope, absolute, attention, blocks, transformer, kv_cache, weights, quantized,
decoder, graphs, sampling, engine.
"""

from ar_model.blocks import Context
from ar_model.config import ARConfig
from ar_model.engine import Engine
from ar_model.sampling import Sampling
from ar_model.sequence import SequenceLayout
from ar_model.transformer import ARLoss, UniMoTransformer

__all__ = ["ARConfig", "ARLoss", "Context", "Engine", "Sampling", "SequenceLayout", "UniMoTransformer"]
