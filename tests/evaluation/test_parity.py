"""Every fixture of the Cosmos reference passes, whatever its sizes, and everything that is wrong is seen.

The committed cases are cut from the whole ones (shared folder): fewer rows, clips and sub-cases, DV's encoder, CV's
decoder. Numbers are the reference's.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ar_model import ARConfig, Context, Engine, Sampling, SequenceLayout, UniMoTransformer
from unimo.evaluation.parity import KINDS, kind_of, run_case, run_directory, table
from unimo.evaluation.parity_case import FAIL, NOT_CHECKED, PASS, read_case

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT / "tests" / "fixtures" / "parity" / "cases"
WHOLE = Path(os.environ.get("UNIMO_SHARED", ROOT.parent / "shared")) / "parity"
NAMES = sorted(path.stem for path in CASES.glob("*.json"))
needs_whole = pytest.mark.skipif(not WHOLE.is_dir(), reason="the shared folder with the whole fixtures is absent")

Tensors = dict[str, torch.Tensor]
Edit = Callable[[Tensors, dict[str, Any]], None]


@pytest.fixture
def edited(tmp_path: Path) -> Callable[..., Path]:
    """Makes a changed copy of a committed case; returns its path without suffix."""

    def make(name: str, edit: Edit, called: str | None = None) -> Path:
        tensors, info = load_file(CASES / f"{name}.safetensors"), json.loads((CASES / f"{name}.json").read_text())
        edit(tensors, info)
        return write(tmp_path / (called or name), tensors, info)

    return make


def write(path: Path, tensors: Tensors, info: dict[str, Any]) -> Path:
    save_file({key: value.contiguous() for key, value in tensors.items()}, f"{path}.safetensors")
    Path(f"{path}.json").write_text(json.dumps(info))
    return path


def command(monkeypatch: pytest.MonkeyPatch, directory: Path) -> int | str | None:
    """The exit status of `tools/check_parity.py DIRECTORY`: a number, or a text, which Python turns into 1."""
    spec = importlib.util.spec_from_file_location("check_parity", ROOT / "tools" / "check_parity.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(sys, "argv", ["check_parity.py", str(directory)])
    with pytest.raises(SystemExit) as stop:
        tool.main()
    return stop.value.code


# ---------------------------------------------------------------------- what is right passes


@pytest.mark.parametrize("name", NAMES)
def test_committed_case_equals_the_reference(name: str) -> None:
    report = run_case(CASES / name)
    assert report.passed, table([report])
    expected = sorted(
        key for key in load_file(CASES / f"{name}.safetensors") if key.startswith("out.") or ".out." in key
    )
    assert sorted(check.name for check in report.checks) == expected
    left = {check.name for check in report.checks if check.verdict == NOT_CHECKED}
    assert not left


def test_committed_cases_are_of_every_kind_and_small() -> None:
    assert {kind_of(read_case(CASES / name)).word for name in NAMES} == {kind.word for kind in KINDS}
    assert sum(path.stat().st_size for path in CASES.parent.rglob("*") if path.is_file()) <= 6e6


@needs_whole
def test_whole_fixtures_equal_the_reference() -> None:
    reports = run_directory(WHOLE)
    assert len(reports) >= 15 and all(report.passed for report in reports), table(reports)
    left = [(report.name, check.name) for report in reports for check in report.checks if check.verdict == NOT_CHECKED]
    assert not left


@needs_whole
@pytest.mark.parametrize("name", NAMES)
def test_committed_tensors_are_those_of_the_whole_fixtures(name: str) -> None:
    whole = load_file(WHOLE / f"{name}.safetensors")
    for key, tensor in load_file(CASES / f"{name}.safetensors").items():
        start = 5 if key.startswith("real5b.") else 0
        assert torch.equal(tensor, whole[key][start : start + len(tensor)] if tensor.ndim else whole[key]), key


def test_names_of_files_and_clips_do_not_matter(edited: Callable[..., Path]) -> None:
    def rename(tensors: Tensors, info: dict[str, Any]) -> None:
        for key in ("case", "kind"):
            info.pop(key, None)
        for key in [key for key in tensors if key.startswith("t1.")]:
            tensors[key.replace("t1.", "anything.", 1)] = tensors.pop(key)

    for name in ("ar_crossattn_t2v", "dv8x16x16_tiny", "fsq_8x6x5", "haar", "sampling", "diffusion_decoder_tiny"):
        report = run_case(edited(name, rename, called=f"x.{name[-3:]}"))
        assert report.passed, table([report])


def model_case(path: Path, shape: tuple[int, int, int], prompt: int, length: int) -> Path:
    """A case of other sizes, written by the plain model: text in every second block, begin row."""
    torch.manual_seed(3)
    config = ARConfig(
        dim=56, layers=3, heads=7, kv_heads=7, ffn_hidden=40, visual_ids=30, visual_embedding_rows=33, motion_ids=1,
        head_dim=14, rope_theta=1000.0, context_dim=5, init_std=0.2,
    )  # fmt: skip
    model = UniMoTransformer(config).eval()
    model.layers[1].cross_attention = model.layers[1].cross_attention_norm = None  # pyright: ignore
    layout = SequenceLayout("video", max(2, shape[0]), *shape[1:], begin_of_video=True)
    tokens = torch.randint(0, 30, (2, len(layout)))
    tokens[:, 0] = 30
    context = Context(torch.randn(2, 4, 5))
    with torch.no_grad():
        streams = model.residuals(tokens, layout, context=context)
        logits = model.output(model.norm(streams[-1]))
        written = Engine(model).complete(tokens, layout, prompt, Sampling(temperature=0), [0, 1], context=context)
    table_rows = model.positions(layout, "cpu").absolute
    assert table_rows is not None
    reference = dict(
        dim=56, n_layers=3, n_heads=7, n_kv_heads=7, head_dim=14, ffn_hidden_size=40, norm_eps=1e-5, rope_theta=1000.0,
        use_qk_normalization=True, apply_abs_pos_emb=True, abs_pos_emb_dtype="float32", video_latent_shape=list(shape),
        training_type="text_to_video", insert_cross_attn=True, insert_cross_attn_every_k_layers=2, context_dim=5,
    )  # fmt: skip
    ours = ("motion_embeddings", "special_embeddings", "motion_output")
    weights = {f"sd.{key}": value for key, value in model.state_dict().items() if not key.startswith(ours)}
    tensors = {
        "in.tokens": tokens[:, :length], "in.context": context.states, "out.logits_full": logits[:, :length],
        "out.logits_stepwise": logits[:, :length], "out.greedy_tokens": written[:, :length],
        "out.hidden_layer2": streams[2][:, :length], "out.abs_pos_emb": table_rows[: length + 2],
    }  # fmt: skip
    weights |= {key: value.clone() for key, value in tensors.items()}  # two of them share memory
    return write(path, weights, {"case": "ar_other", "config": reference, "prompt_len": prompt})


@pytest.mark.parametrize(("shape", "prompt", "length"), [((2, 3, 5), 4, 31), ((4, 1, 3), 1, 13), ((1, 3, 4), 12, 13)])
def test_sizes_are_read_from_the_case(tmp_path: Path, shape: tuple[int, int, int], prompt: int, length: int) -> None:
    report = run_case(model_case(tmp_path / "ar_other", shape, prompt, length))
    assert report.passed and len(report.checks) == 5, table([report])


# ---------------------------------------------------------------------- what is wrong is seen

# a case, a tensor to disturb, an output that must then be off
DISTURBED = [
    ("ar_crossattn_t2v", "sd.layers.1.cross_attention.wv.weight", "out.logits_stepwise"),
    ("ar_crossattn_t2v", "sd.layers.0.cross_attention.k_norm.weight", "out.logits_full"),
    ("ar_crossattn_t2v", "in.context", "out.greedy_tokens"),
    ("dv8x16x16_tiny", "sd.encoder.down.0.downsample.conv2.conv3d.weight", "t1.out.encoder"),
    ("cv8x8x8_tiny", "sd.decoder.mid.attn_1.1.v.conv3d.weight", "t9.out.video_of_random_latent"),
    ("diffusion_decoder_tiny", "sd.net.blocks.block1.blocks.1.block.attn.to_v.0.weight", "out.net_cond"),
    ("diffusion_decoder_tiny", "sd.net.token_embedder.weight", "out.net_uncond"),
    ("diffusion_decoder_tiny", "in.unit_noise", "out.sample"),
    ("fsq_8x6x5", "in.z", "out.indices"),
    ("haar", "p4_t1.in.x", "p4_t1.out.patch"),
    ("rope", "hd24.in.q", "hd24.out.q_v1"),
    ("rope", "yarn_hd32.out.cos", "yarn_hd32.out.cos"),
    ("abs_pos_emb", "d128_bov.out.table_bfloat16", "d128_bov.out.table_bfloat16"),
    ("rmsnorm", "sd.weight", "out.y_bf16"),
    ("sampling", "in.logits", "p09_t06.out.probs"),
]


@pytest.mark.parametrize(("name", "tensor", "output"), DISTURBED)
def test_a_disturbed_tensor_fails(edited: Callable[..., Path], name: str, tensor: str, output: str) -> None:
    def disturb(tensors: Tensors, info: dict[str, Any]) -> None:
        noise = torch.randn(tensors[tensor].shape, generator=torch.Generator().manual_seed(0))
        tensors[tensor] = (tensors[tensor].float() + noise).to(tensors[tensor].dtype)

    report = run_case(edited(name, disturb))
    assert output in {check.name for check in report.checks if check.verdict == FAIL} and not report.passed


def test_tolerances_are_the_documented_ones() -> None:
    allowed = {(report.name, check.name): check.tolerance for report in run_directory(CASES) for check in report.checks}
    assert allowed["ar_crossattn_t2v", "out.logits_full"] == allowed["ar_crossattn_t2v", "out.logits_stepwise"] == 1e-4
    assert allowed["dv8x16x16_tiny", "t1.out.encoder"] == allowed["dv8x16x16_tiny", "t1.out.pre_quant"] == 1e-4
    assert allowed["cv8x8x8_tiny", "t9.out.video_of_random_latent"] == 1e-3
    assert allowed["rope", "hd24.out.cos"] == allowed["abs_pos_emb", "d128_bov.out.table_float32"] == 1e-6
    assert allowed["diffusion_decoder_tiny", "out.net_cond"] == allowed["diffusion_decoder_tiny", "out.sample"] == 1e-3
    exact = [("dv8x16x16_tiny", "t1.out.indices"), ("ar_crossattn_t2v", "out.greedy_tokens")]
    exact += [("sampling", "p09_t06.out.token"), ("rmsnorm", "out.y_bf16"), ("rope", "hd24.out.q_v2_bf16")]
    assert all(allowed[key] == 0 for key in exact)


def without(*names: str) -> Edit:
    def edit(tensors: Tensors, info: dict[str, Any]) -> None:
        for name in names:
            del tensors[name]

    return edit


def with_setting(**changes: Any) -> Edit:
    return lambda tensors, info: info["config"].update(changes)


def unknown(tensors: Tensors, info: dict[str, Any]) -> None:
    for key in list(tensors):
        tensors[f"{key}x".replace(".", "-")] = tensors.pop(key)
    info["case"] = "mystery"


def turned(name: str) -> Edit:
    def edit(tensors: Tensors, info: dict[str, Any]) -> None:
        tensors[name] = tensors[name].transpose(0, -1)

    return edit


AR, WEIGHT = "ar_crossattn_t2v", "sd.layers.1.feed_forward.w2.weight"
BROKEN: list[tuple[str, Edit, str]] = [
    (AR, without(WEIGHT), "weights are missing: layers.1.feed_forward.w2.weight"),
    (AR, without("sd.tok_embeddings.weight"), "the tensor 'sd.tok_embeddings.weight' is missing"),
    (AR, without("out.logits_full"), "the tensor 'out.logits_full' is missing"),
    (AR, without("in.context"), "the tensor 'in.context' is missing"),
    (AR, with_setting(n_layers=1), "weights are not of this model: layers.1.attention.k_norm.weight"),
    (AR, with_setting(ffn_hidden_size=96), "weights are of another shape: layers.0.feed_forward.w1.weight (160, 96)"),
    (AR, with_setting(pytorch_rope_version="v1"), "pytorch_rope_version = 'v1' has no counterpart"),
    (AR, with_setting(n_heads=5), "the case cannot be run (ValueError: kv_heads (2) must divide heads (5))"),
    (AR, lambda tensors, info: info.pop("prompt_len"), "the setting 'prompt_len' is missing"),
    (AR, lambda tensors, info: info.update(config=7), "the case cannot be run (AttributeError"),
    ("dv8x16x16_tiny", without("t1.out.pre_quant"), "the tensor 't1.out.pre_quant' is missing"),
    ("dv8x16x16_tiny", with_setting(patch_size=2), "patch_size = 2 has no counterpart"),
    ("cv8x8x8_tiny", without("sd.decoder.conv_in.0.conv3d.bias"), "weights are missing: decoder.conv_in.conv_s.bias"),
    ("diffusion_decoder_tiny", with_setting(sigma_max=70), "sigma_max = 70 has no counterpart"),
    ("sampling", unknown, "the case is of an unknown kind"),
]


@pytest.mark.parametrize(("name", "edit", "words"), BROKEN)
def test_a_broken_case_says_what_where_and_what_to_do(
    edited: Callable[..., Path], name: str, edit: Edit, words: str
) -> None:
    path = edited(name, edit, called="x")
    report = run_case(path)
    assert report.error is not None and not report.passed
    assert words in report.error.what and f"{path}." in str(report.error.where) and report.error.fix


def test_a_half_is_not_taken_for_a_whole(edited: Callable[..., Path]) -> None:
    def promise(tensors: Tensors, info: dict[str, Any]) -> None:
        tensors["t1.out.reconstruction"] = tensors["t1.in.video"].clone()

    report = run_case(edited("dv8x16x16_tiny", promise))
    assert report.error is not None and "weights are missing: decoder." in report.error.what


def test_wrong_shapes_and_values_that_are_not_numbers_fail(edited: Callable[..., Path]) -> None:
    def spoil(tensors: Tensors, info: dict[str, Any]) -> None:
        tensors["out.y"] = tensors["out.y"][:1]
        tensors["out.y_bf16"][0, 0, 0] = torch.nan

    first, second = run_case(edited("rmsnorm", spoil)).checks
    assert first.verdict == second.verdict == FAIL
    assert first.note == "shape (3, 7, 24), expected (1, 7, 24)"


def test_an_unknown_output_is_listed_and_a_case_of_such_only_fails(edited: Callable[..., Path]) -> None:
    def add(tensors: Tensors, info: dict[str, Any]) -> None:
        tensors["out.mystery"] = torch.zeros(1)

    report = run_case(edited("rmsnorm", add))
    assert report.passed and report.checks[-1].verdict == NOT_CHECKED
    assert report.checks[-1].name == "out.mystery" and "rmsnorm  out.mystery" in table([report])

    def only_unknown(tensors: Tensors, info: dict[str, Any]) -> None:
        tensors.clear()
        tensors["out.mystery"] = torch.zeros(1)

    report = run_case(edited("haar", only_unknown))
    assert report.error is not None and "nothing in this case could be compared" in report.error.what


# ---------------------------------------------------------------------- the command


def test_the_command_passes_and_prints_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("rmsnorm", "haar"):
        for path in CASES.glob(f"{name}.*"):
            shutil.copy(path, tmp_path)
    (tmp_path / "README.md").write_text("not a case")
    assert command(monkeypatch, tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["case", "sub-check", "max", "difference", "tolerance", "verdict"]
    row = next(line.split() for line in lines if "out.y_bf16" in line)
    assert row == ["rmsnorm", "out.y_bf16", "0.00e+00", "exact", PASS]
    assert lines[-1] == "2 cases: 2 passed, 0 failed; 8 outputs: 8 within tolerance, 0 not, 0 not checked"


def test_the_command_fails_on_any_case_and_still_runs_the_others(
    edited: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    edited("sampling", unknown, called="a_mystery")
    edited("rmsnorm", lambda tensors, info: tensors["sd.weight"].add_(1))
    edited("fsq_8x6x5", lambda tensors, info: None)
    (tmp_path / "b_damaged.json").write_text("{}")
    (tmp_path / "b_damaged.safetensors").write_bytes(b"not safetensors")
    (tmp_path / "c_alone.json").write_text("{}")
    (tmp_path / "d_text.json").write_text("{")
    (tmp_path / "e_list.json").write_text("[]")
    assert command(monkeypatch, tmp_path) == 1
    output = capsys.readouterr().out
    assert "a_mystery: the case is of an unknown kind" in output and "this project can check: ar, dv, cv" in output
    for name in ("b_damaged", "c_alone"):
        assert (
            f"{name}: the case's tensors cannot be read" in output and str(tmp_path / f"{name}.safetensors") in output
        )
    assert "d_text: the case's description cannot be read" in output
    assert "e_list: the case's description is no mapping" in output
    assert "7 cases: 1 passed, 6 failed; 15 outputs: 13 within tolerance, 2 not, 0 not checked" in output


def test_the_command_fails_without_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty, missing = command(monkeypatch, tmp_path), command(monkeypatch, tmp_path / "nowhere")
    assert str(empty) == (
        f"error: there is no case in the directory\n  looked: {tmp_path}\n"
        "  try: a directory of cases, each NAME.json beside NAME.safetensors"
    )
    assert "the directory of fixtures does not exist" in str(missing) and "nowhere" in str(missing)
