"""Parity of the autoregressive model with Cosmos: the whole model, its tables, its norm and its sampling rules.

In:  a `Case` (tensor names in each function). Out: its checks; sizes come from the case alone.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from ar_model import ARConfig, Context, Engine, Sampling, SequenceLayout, UniMoTransformer
from ar_model.absolute import absolute_table
from ar_model.blocks import Block, RMSNorm
from ar_model.rope import Yarn, rope_tables, rope_tables_1d, rotate, rotate_pairs
from ar_model.sampling import filtered_probabilities, sample
from ar_model.sequence import VISUAL
from ar_model.transformer import Positions
from unimo.evaluation.parity_case import EXACT, LOGITS, TABLE, Case

_OURS = frozenset({"motion_embeddings.weight", "special_embeddings.weight", "motion_output.weight"})
_MODEL = {"pytorch_rope_version": "v2", "norm_type": "rmsnorm", "fuse_qkv": False, "causal_mask": True}
_ROTATED = re.compile(r"(?P<letter>[qk])_(?P<variant>v[12])(?P<half>_bf16)?(_first(?P<first>\d+))?")


# ---------------------------------------------------------------------- the model


class _Variant(UniMoTransformer):
    """Our model with the position tables of any Cosmos model: one-dimensional, with YaRN, stored in bfloat16."""

    def __init__(self, config: ARConfig, reference: dict[str, Any]) -> None:
        super().__init__(config)
        self.reference = reference

    def positions(self, layout: SequenceLayout, device: torch.device | str) -> Positions:
        width, known = self.config.head_width, layout.has_position
        cos, sin = _rope(self.reference, layout.rope_coordinates, known, width)
        absolute = None
        if self.config.absolute_positions:
            dtype = getattr(torch, self.reference.get("abs_pos_emb_dtype", "bfloat16"))
            absolute = absolute_table(layout.shared_coordinates, known, self.config.dim, dtype).float()
        return Positions(cos, sin, absolute)


@torch.inference_mode()
def check_model(case: Case) -> None:
    """Checks hidden states, logits of one pass, logits of prefill and steps, and greedy tokens."""
    reference, tokens = case.config, case.given("in.tokens")
    model, layout = _build(case), _layout(reference, tokens.shape[1])
    context = Context(case.given("in.context"), case.tensors.get("in.context_mask")) if _reads(reference) else None
    length = tokens.shape[1]
    whole = torch.nn.functional.pad(tokens, (0, len(layout) - length))  # causal: what follows changes nothing
    streams = model.residuals(whole, layout, context=context)
    logits = model.output(model.norm(streams[-1]))[:, :length]

    tables = model.positions(layout, "cpu")
    for name, table, empty in (("rope_cos", tables.cos, 1.0), ("rope_sin", tables.sin, 0.0)):
        if name in case.expected():
            case.compare(f"out.{name}", _padded(table, case.given(f"out.{name}").shape[0], empty), TABLE)
    if tables.absolute is not None:
        rows = case.given("out.abs_pos_emb").shape[0]
        case.compare("out.abs_pos_emb", _padded(tables.absolute, rows, 0.0), TABLE)
    if "embeddings" in case.expected():
        case.compare("out.embeddings", model.embed(tokens, layout), EXACT)
    for index, stream in enumerate(streams):
        if f"hidden_layer{index}" in case.expected():
            case.compare(f"out.hidden_layer{index}", stream[:, :length], LOGITS)
    case.compare("out.logits_full", logits, LOGITS)

    given = case.setting("prompt_len")
    steps = _stepwise(model, tokens, layout, given, context)
    note = f"plain pass up to row {given - 2}, prefill of {given} tokens, then single steps"
    case.compare("out.logits_stepwise", torch.cat([logits[:, : given - 1], steps], dim=1), LOGITS, note)
    written = Engine(model).complete(whole, layout, given, Sampling(temperature=0), range(len(whole)), context=context)
    case.compare("out.greedy_tokens", written[:, :length], EXACT)


def _build(case: Case) -> UniMoTransformer:
    reference = case.config
    case.require(_MODEL, reference)
    config = ARConfig(
        dim=case.setting("dim", reference),
        layers=case.setting("n_layers", reference),
        heads=case.setting("n_heads", reference),
        kv_heads=case.setting("n_kv_heads", reference),
        ffn_hidden=case.setting("ffn_hidden_size", reference),
        head_dim=case.setting("head_dim", reference),
        norm_eps=case.setting("norm_eps", reference),
        rope_theta=case.setting("rope_theta", reference),
        qk_norm=case.setting("use_qk_normalization", reference),
        visual_ids=case.given("sd.output.weight").shape[0],
        visual_embedding_rows=case.given("sd.tok_embeddings.weight").shape[0],
        motion_ids=1,
        absolute_positions=case.setting("apply_abs_pos_emb", reference),
        context_dim=case.setting("context_dim", reference) if _reads(reference) else None,
    )
    model = _Variant(config, reference).eval()
    every = reference.get("insert_cross_attn_every_k_layers", 1)
    for index, block in enumerate(model.layers):
        if index % every and isinstance(block, Block):
            block.cross_attention = block.cross_attention_norm = None
    case.load(model, case.weights(), _OURS)
    return model


def _reads(reference: dict[str, Any]) -> bool:
    return bool(reference.get("insert_cross_attn"))


def _layout(reference: dict[str, Any], length: int) -> SequenceLayout:
    """The layout of at least `length` positions."""
    frames, height, width = reference.get("video_latent_shape") or (length, 1, 1)
    begin = reference.get("training_type") == "text_to_video"
    # the layout of a single frame is the start of the one of two
    return SequenceLayout("video", max(frames, 2), height, width, begin_of_video=begin)


def _stepwise(
    model: UniMoTransformer, tokens: Tensor, layout: SequenceLayout, given: int, context: Context | None
) -> Tensor:
    """Logits (B, S - given + 1, V) from the prompt's last position on, by prefill and single steps."""
    decoder = Engine(model).decoder
    cache, tables = decoder.new_cache(len(tokens), tokens.shape[1], context), decoder.tables(layout)
    hidden = decoder.prefill(tokens[:, :given], layout, cache)
    rows = [decoder.logits(hidden, VISUAL)]
    for position in range(given, tokens.shape[1]):
        hidden = decoder.step(model.tok_embeddings(tokens[:, position]), position, tables, cache)
        rows.append(decoder.logits(hidden, VISUAL))
    return torch.stack(rows, dim=1)


# ---------------------------------------------------------------------- tables


def check_rope(case: Case) -> None:
    """Checks SUB.out.{cos,sin}[_v1] and queries and keys rotated by either variant, in float32 and bfloat16."""
    for sub in case.subcases():
        rule = case.setting(sub, case.setting("subcases"))
        picked = case.tensors.get(f"{sub}.in.rows")
        rows = rule.get("rows_total") or case.given(f"{sub}.out.cos").shape[0]
        coordinates, known = _places(rule, rows, picked)
        tables = {
            variant: _rope(rule, coordinates, known, case.setting("dim", rule), variant) for variant in ("v1", "v2")
        }
        for number, name in enumerate(("cos", "sin")):
            case.compare(f"{sub}.out.{name}", tables["v2"][number], TABLE)
            older = f"{sub}.out.{name}_v1"
            if older in case.tensors:
                case.compare(older, tables["v1"][number][: case.given(older).shape[0]], TABLE)
        for name in case.expected(sub):
            if match := _ROTATED.fullmatch(name):
                turned = _rotated(case, sub, match, tables[match["variant"]])
                case.compare(f"{sub}.out.{name}", turned, EXACT if match["half"] else TABLE)


def _rotated(case: Case, sub: str, match: re.Match[str], tables: tuple[Tensor, Tensor]) -> Tensor:
    """Queries or keys of a sub-case, turned as the name of the expected output says."""
    heads = case.given(f"{sub}.in.{match['letter']}")
    first = match["first"]
    rows = case.given(f"{sub}.in.input_pos") if first is None else torch.arange(int(first))
    cos, sin = (table[rows][:, None] for table in tables)
    if match["half"]:
        heads, cos, sin = heads.bfloat16(), cos.bfloat16(), sin.bfloat16()
    return (rotate if match["variant"] == "v2" else rotate_pairs)(heads, cos, sin)


def check_absolute(case: Case) -> None:
    """Checks SUB.out.table_{float32,bfloat16}."""
    for sub in case.subcases():
        rule = case.setting(sub, case.setting("subcases"))
        picked = case.tensors.get(f"{sub}.in.rows")
        for name in case.expected(sub):
            expected = case.given(f"{sub}.out.{name}")
            if name.removeprefix("table_") in ("float32", "bfloat16"):
                coordinates, known = _places(rule, rule.get("rows_total") or len(expected), picked)
                table = absolute_table(coordinates, known, case.setting("dim", rule), expected.dtype)
                case.compare(f"{sub}.out.{name}", table, TABLE)


def _places(rule: dict[str, Any], rows: int, picked: Tensor | None) -> tuple[Tensor, Tensor]:
    """Coordinates (rows, 3) and whether there is a place (rows,) in a table padded to `rows`, or of the picked rows."""
    begin = rule.get("training_type") == "text_to_video"
    frames, height, width = rule.get("latent_shape") or (rows, 1, 1)
    layout = SequenceLayout("video", max(frames, 2), height, width, begin_of_video=begin)
    filled = frames * height * width + begin
    coordinates = _padded(layout.rope_coordinates[:filled], rows, 0.0)
    known = torch.nn.functional.pad(layout.has_position[:filled], (0, max(0, rows - filled)))[:rows]
    return (coordinates, known) if picked is None else (coordinates[picked], known[picked])


def _rope(
    rule: dict[str, Any], coordinates: Tensor, known: Tensor, width: int, variant: str = "v2"
) -> tuple[Tensor, Tensor]:
    """cos and sin (rows, width) of a reference's settings (an `ar_*` configuration or a sub-case of `rope`)."""
    theta, yarn = rule["rope_theta"], _yarn(rule)
    if rule.get("rope_dim", "3D") == "1D":
        cos, sin = rope_tables_1d(len(coordinates), width, theta, yarn, adjacent=variant == "v1")
    else:
        cos, sin = rope_tables(coordinates, known, width, theta, yarn)
    gain = yarn.magnitude if yarn is not None and variant == "v1" else 1.0
    return cos * gain, sin * gain


def _yarn(rule: dict[str, Any]) -> Yarn | None:
    """YaRN's numbers; configurations and sub-cases spell the keys differently."""
    if not rule.get("apply_yarn"):
        return None
    numbers = {key: rule[key if key in rule else f"yarn_{key}"] for key in ("scale", "beta_fast", "beta_slow")}
    if rule.get("rope_dim") == "1D":
        key = "original_max_position_embeddings"
        return Yarn(**numbers, extent=(rule[key if key in rule else "original_seq_len"],))
    return Yarn(**numbers, extent=tuple(rule["original_latent_shape"][:2]))


def _padded(table: Tensor, rows: int, empty: float) -> Tensor:
    """The first rows of a table, `empty` where it has no more."""
    return torch.nn.functional.pad(table[:rows], (0, 0, 0, max(0, rows - len(table))), value=empty)


# ---------------------------------------------------------------------- norm and sampling


@torch.inference_mode()
def check_rmsnorm(case: Case) -> None:
    """Checks out.y and out.y_bf16 of in.x."""
    x = case.given("in.x")
    norm = RMSNorm(case.setting("dim"), case.setting("eps"))
    case.load(norm, case.weights())
    case.compare("out.y", norm(x), TABLE)
    if "out.y_bf16" in case.tensors:
        case.compare("out.y_bf16", norm.bfloat16()(x.bfloat16()), EXACT)


def check_sampling(case: Case) -> None:
    """Checks the filtered probabilities and the drawn token of every rule, for the last position of in.logits."""
    logits = case.given("in.logits")[:, -1]
    for sub in case.subcases():
        rule = case.setting(sub, case.setting("subcases"))
        sampling = Sampling(rule.get("temperature", 1.0), rule.get("top_p"), rule.get("top_k"))
        drawn = sample(logits, sampling, case.tensors.get(f"{sub}.in.noise"))
        case.compare(f"{sub}.out.token", drawn[:, None], EXACT)
        if f"{sub}.out.probs" in case.tensors:
            probabilities, order = filtered_probabilities(logits, sampling)
            if order is not None:
                probabilities = torch.zeros_like(probabilities).scatter(1, order, probabilities)
            case.compare(f"{sub}.out.probs", probabilities, TABLE)
