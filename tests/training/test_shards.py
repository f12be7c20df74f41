"""Training from token shards: the same weights after a stop, batches that each process draws once, what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from safetensors.torch import load_file

from tests.data.token_folder import damage, tokens_of, write_folder
from unimo.assets import config_path
from unimo.bundle import load_bundle
from unimo.cli.main import run
from unimo.config import load_config
from unimo.data.loader import ShardLoader
from unimo.data.token_shards import ClipTokens, TokenShards, stack
from unimo.data.tokens import TokenPack, weights_hash
from unimo.errors import CheckpointError
from unimo.pipeline import UniMoPipeline
from unimo.training import parallel
from unimo.training.ar import ArDataConfig, ArTask, ArTrainingConfig
from unimo.training.checkpoint import checkpoint_paths
from unimo.training.keypoints import keypoint_targets
from unimo.training.loop import Trainer

DEBUG = load_config(ArTrainingConfig, config_path("ar_model", "debug"))
READING = {"reading_steps": 2, "reading_every": 2, "reading_batch": 5, "frame_noise": 0.5}
COUNTS = {"train": [6, 4, 7], "validation": [3]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shards")
    write_folder(path, COUNTS)
    return path


def pack_of(numbers: Iterable[int]) -> TokenPack:
    return stack([ClipTokens("", **tokens_of(number)) for number in numbers])


def number_of(name: str) -> int:
    """The clip of a name such as "tokens-000000.tar/clip3"."""
    return int(name.split("/clip")[1])


def task_of(train: TokenPack | ShardLoader | Path, validation: int = 2, seed: int = 0, **data) -> ArTask:
    optimization = replace(
        DEBUG.optimization, batch_size=3, steps=6, ema_decay=0.5, checkpoint_every=2, learning_rate=1e-2, seed=seed
    )
    if isinstance(train, Path):
        train = ShardLoader(TokenShards.of(train), seed, parallel.rank(), parallel.world_size())
    config = replace(DEBUG, optimization=optimization, data=ArDataConfig(**data))
    return ArTask(config, train, pack_of(range(100, 100 + validation)))


def stop_at(task: ArTask, step: int) -> ArTask:
    """The task, whose process ends in a step as after kill -9: nothing is written any more."""
    draw = task.batch

    def batch(now: int):
        if now == step:
            raise KeyboardInterrupt
        return draw(now)

    task.batch = batch  # type: ignore[method-assign]
    return task


def train(task: ArTask, folder: Path) -> dict[str, torch.Tensor]:
    Trainer(task, task.config.optimization, folder, resume=True).run()
    return task.model.state_dict()


def digest(task: ArTask, steps: int) -> str:
    """Of the names and the tokens of batches."""
    found = hashlib.sha256()
    for step in range(steps):
        batch = task.batch(step)
        found.update(repr(batch["names"]).encode())
        for name in ("v2m", "i2vm"):
            for tokens in batch.get(name, ()):
                found.update(tokens.numpy().tobytes())
    return found.hexdigest()[:16]


@pytest.mark.parametrize(
    ("data", "known"),
    [
        ({}, "081a3ffbfa7ab4cf"),
        ({"visual_noise": 0.3, "motion_noise": 0.3, "frame_noise": 1.0}, "0a4ef24192b8b1d6"),
        (READING, "428a1206a24f67e9"),
    ],
)
def test_batches_of_a_pack_are_what_they_were_before_there_were_shards(data, known) -> None:
    assert digest(task_of(pack_of(range(40)), **data), 8) == known


def test_both_tasks_and_reading_steps_take_each_clip_of_the_stream_once(folder) -> None:
    task = task_of(folder, **READING)
    seen = [name for step in range(8) for name in task.batch(step)["names"]]
    assert [len(task.batch(step)["names"]) for step in (8, 9)] == [5, 3]
    assert len(set(seen[:17])) == 17 and len(seen) == 5 + 5 + 5 + 3 + 5 + 3 + 5 + 3
    assert task.position()["clips"] == len(seen) + 8


def test_the_sequences_are_the_clips_named(folder) -> None:
    batch = (task := task_of(folder)).batch(1)
    wanted = {"v2m": batch["names"][:2], "i2vm": batch["names"][2:]}
    for name, clips in wanted.items():
        visual, motion = task.layouts[name].invert(batch[name][1])
        for row, clip in enumerate(clips):
            known = tokens_of(number_of(clip))
            assert np.array_equal(visual[row], known["visual_ids"]) and np.array_equal(motion[row], known["motion_ids"])


def test_foreign_frames_come_from_the_clips_after_the_batch(folder) -> None:
    task = task_of(folder, reading_steps=1, reading_batch=8)
    batch = task.batch(0)
    motion = task.layouts["v2m"].invert(batch["v2m"][0])[1].numpy()
    following = task.train.draw(np.random.default_rng(), 8)[1].motion_ids
    same = [np.array_equal(mine, other) for mine, other in zip(motion, following, strict=True)]
    assert 0 < sum(same) < 8  # the other half is random


def test_joints_are_those_of_the_clips(folder) -> None:
    more = {**READING, "keypoint_weight": 2.0, "keypoint_layer": 1}
    task = task_of(folder, **more)
    for step in (0, 3):
        batch = task.batch(step)
        pack = pack_of(map(number_of, batch["names"][: len(batch["v2m"][0])]))
        known = keypoint_targets(torch.from_numpy(pack.features), 1.2, 2)
        assert torch.equal(batch["points"], known) and not torch.equal(known[0], known[1])
        loss, numbers = task.loss(batch)
        assert torch.isfinite(loss) and numbers["v2m.keypoint_loss"] > 0


def test_a_killed_run_ends_at_the_weights_of_an_undisturbed_one(folder, tmp_path) -> None:
    more = {**READING, "keypoint_weight": 1.0, "keypoint_layer": 1, "motion_noise": 0.2}
    whole = train(task_of(folder, **more), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(stop_at(task_of(folder, **more), 5), tmp_path / "parts")
    assert checkpoint_paths(tmp_path / "parts")[-1].name == "step_00000004.safetensors"
    resumed = train(task_of(folder, **more), tmp_path / "parts")
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())
    # without the position the clips, and so the weights, would be others
    unplaced = task_of(folder, **more)
    unplaced.go_to = lambda position: None  # type: ignore[method-assign]
    (tmp_path / "parts" / "step_00000006.safetensors").unlink()
    moved = train(unplaced, tmp_path / "parts")
    assert any(not torch.equal(value, moved[key]) for key, value in whole.items())


def _train_in_two(rank: int, port: int, folder: Path, work: Path, results) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    parallel.start()
    seen: list[str] = []
    whole = task_of(folder)
    draw = whole.batch

    def noting(step: int):
        batch = draw(step)
        seen.extend(batch["names"])
        return batch

    whole.batch = noting  # type: ignore[method-assign]
    weights = train(whole, work / "whole")
    try:
        train(stop_at(task_of(folder), 3), work / "parts")
    except KeyboardInterrupt:
        parallel.wait()
    resumed = train(task_of(folder), work / "parts")
    results.put((rank, all(torch.equal(value, resumed[key]) for key, value in weights.items()), seen))
    parallel.wait()


def test_two_processes_share_the_clips_and_resume_to_the_same_weights(folder, tmp_path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    results = mp.get_context("spawn").Queue()
    mp.spawn(_train_in_two, (port, folder, tmp_path, results), nprocs=2)
    (_, same, first), (_, also, second) = sorted(results.get(timeout=60) for _ in range(2))
    assert same and also
    stream = [name for together in zip(first, second, strict=True) for name in together]
    assert len(stream) == 36 and len(set(stream[:17])) == len(set(stream[17:34])) == 17


def test_checkpoints_of_shards_packs_and_other_seeds_do_not_mix(folder, tmp_path) -> None:
    train(task_of(folder), tmp_path / "shards")
    pack = pack_of(range(6))
    train(task_of(pack), tmp_path / "pack")
    with pytest.raises(CheckpointError, match="is of a training from shards"):
        train(task_of(pack), tmp_path / "shards")
    for work, seed in (("pack", 0), ("shards", 1)):
        with pytest.raises(CheckpointError, match="not one in these shards"):
            train(task_of(folder, seed=seed), tmp_path / work)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the bundle debug has made."""
    path, bundle = tmp_path_factory.mktemp("prepared"), load_bundle("debug")
    made_by = weights_hash(bundle.visual_tokenizer, bundle.motion_tokenizer)
    grid = (1 + bundle.settings.frames // 8, bundle.settings.side // 16, bundle.settings.side // 16)
    write_folder(path, COUNTS, made_by, "debug", grid, bundle.settings.frames)
    return path


def unimo(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), " ".join((captured.out + captured.err).split())


def command(work: Path, *more: object) -> tuple[object, ...]:
    return ("train", "ar", "--config", "debug", "--preset", "debug", "--device", "cpu", "--work", work, *more)


def test_the_command_trains_with_the_tokenizers_that_made_the_shards(prepared, tmp_path, capsys) -> None:
    parts = command(tmp_path / "parts", "--shards", prepared, "--set", "optimization.checkpoint_every=2")
    whole = command(tmp_path / "whole", "--shards", prepared, "--set", "optimization.checkpoint_every=2")
    assert unimo(capsys, *whole)[0] == 0
    assert unimo(capsys, *parts)[0] == 0
    (tmp_path / "parts" / "ar" / "step_00000004.safetensors").unlink()
    code, text = unimo(capsys, *parts)
    assert code == 2 and "holds checkpoints of ar" in text
    assert unimo(capsys, *parts, "--resume")[0] == 0
    first, second = (load_file(tmp_path / name / "ar.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    rows = [json.loads(line) for line in (tmp_path / "whole" / "ar" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["kind"] == "validation" and rows[-1]["v2m.motion_loss"] > 0
    assert not (tmp_path / "whole" / "packs").exists()
    bundle = load_bundle(tmp_path / "whole" / "bundle")
    assert all(torch.equal(value.half(), first[key].half()) for key, value in bundle.ar_model.state_dict().items())
    training, shards = bundle.info.training, TokenShards.of(prepared)
    assert bundle.info.name == "whole" and training["clips"] == len(shards) and training["shards"] == shards.fingerprint
    assert training["data"] == f"shards of unimo data prepare: {prepared.name}"
    UniMoPipeline(bundle)


def test_another_folder_can_be_validated(prepared, tmp_path, capsys) -> None:
    only = tmp_path / "only"
    made_by = json.loads((prepared / "prepare.json").read_text())["tokenizers"]
    shards = TokenShards.of(prepared)
    write_folder(only, {"train": [4]}, made_by, "debug", shards.grid, shards.frames)
    code, text = unimo(capsys, *command(tmp_path / "a", "--shards", only))
    assert code == 2 and "no split for validation" in text and "--validation-shards" in text
    code, text = unimo(capsys, *command(tmp_path / "a", "--shards", only, "--validation-shards", only))
    assert code == 2 and "is the folder of --shards" in text
    code, text = unimo(capsys, *command(tmp_path / "a", "--shards", prepared, "--validation-shards", only))
    assert code == 2 and "1 subject is in both training and validation shards: anna" in text
    assert not (tmp_path / "a").exists()  # what was refused leaves nothing that a later run could meet
    (only / "sources.jsonl").write_text('{"subject": "carl", "clips": 4}\n{"subject": "anna", "reason": "broken"}\n')
    assert unimo(capsys, *command(tmp_path / "a", "--shards", prepared, "--validation-shards", only))[0] == 0


def test_data_grows_by_another_folder(prepared, tmp_path, capsys) -> None:
    shards, more = TokenShards.of(prepared), tmp_path / "more"
    made = (shards.tokenizers, "debug", shards.grid, shards.frames)
    write_folder(more, {"train": [3]}, *made, start=50)  # no clips for validation: those of the first folder stay
    both = command(tmp_path / "a", "--shards", prepared, "--shards", more, "--set", "optimization.checkpoint_every=2")
    assert unimo(capsys, *both)[0] == 0
    known = load_file(tmp_path / "a" / "ar.safetensors")
    (tmp_path / "a" / "ar" / "step_00000004.safetensors").unlink()
    code, text = unimo(capsys, *command(tmp_path / "a", "--shards", prepared, "--resume"))
    assert code == 2 and "not one in these shards" in text
    swapped = command(tmp_path / "a", "--shards", more, "--shards", prepared, "--resume")
    assert unimo(capsys, *swapped)[0] == 0
    again = load_file(tmp_path / "a" / "ar.safetensors")
    assert all(torch.equal(value, again[key]) for key, value in known.items())
    training = load_bundle(tmp_path / "a" / "bundle").info.training
    assert training["clips"] == len(shards) + 3
    assert training["data"] == f"shards of unimo data prepare: more, {prepared.name}"


def test_folders_that_do_not_go_together_are_refused_before_anything_is_written(prepared, tmp_path, capsys) -> None:
    shards = TokenShards.of(prepared)
    write_folder(tmp_path / "fast", {"train": [2]}, shards.tokenizers, "debug", shards.grid, shards.frames, fps=60)
    code, text = unimo(capsys, *command(tmp_path / "a", "--shards", prepared, "--shards", tmp_path / "fast"))
    assert code == 2 and "fps 60, not" in text and f"{prepared}, {tmp_path / 'fast'}" in text
    code, text = unimo(capsys, *command(tmp_path / "a", "--shards", prepared, "--shards", prepared))
    assert code == 2 and "--shards names a folder twice" in text
    made = (shards.tokenizers, "debug", shards.grid, shards.frames)
    for name, start in (("one", 60), ("two", 70)):  # a video under two names
        write_folder(tmp_path / name, {"train": [2]}, *made, start=start, videos=("same",))
    both = ("--shards", tmp_path / "one", "--validation-shards", tmp_path / "two")
    (tmp_path / "two" / "sources.jsonl").write_text(
        '{"subject": "carl", "clips": 2, "source": "b.mp4", "sha256": "same"}\n'
    )
    code, text = unimo(capsys, *command(tmp_path / "a", *both))
    assert code == 2 and "1 video (b.mp4) is in both" in text and "must not be validated" in text
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("config", ["mini", "base"])
def test_a_network_of_another_vocabulary_is_refused_before_anything_heavy(
    prepared, tmp_path, capsys, monkeypatch, config
) -> None:
    monkeypatch.setattr("unimo.training.chain.open_shards", lambda *_: pytest.fail("shards were opened"))
    line = ("train", "ar", "--config", config, "--preset", "debug", "--device", "cpu", "--work", tmp_path / "work")
    code, text = unimo(capsys, *line, "--shards", prepared)
    ids = {"mini": 4096, "base": 64000}[config]
    assert code == 2 and f"visual_ids is {ids}, they have 64" in text and str(prepared) in text
    assert "--set model.visual_ids=64" in text and not (tmp_path / "work").exists()


def test_a_network_of_other_motion_ids_is_refused(prepared, tmp_path, capsys) -> None:
    code, text = unimo(capsys, *command(tmp_path / "work", "--shards", prepared, "--set", "model.motion_ids=100"))
    assert code == 2 and "motion_ids is 100, they have 512" in text and "--set model.motion_ids=512" in text


def test_a_run_that_failed_before_its_first_checkpoint_does_not_block_the_folder(
    prepared, tmp_path, capsys, monkeypatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("unimo.training.chain.ArTask", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no memory")))
        with pytest.raises(RuntimeError):
            run([str(word) for word in command(tmp_path / "a", "--shards", prepared)])
    (tmp_path / "a" / "ar" / "tokenizers.txt").write_text("of a run on other tokens")
    assert unimo(capsys, *command(tmp_path / "a", "--shards", prepared))[0] == 0
    (tmp_path / "a" / "ar" / "tokenizers.txt").write_text("of a run on other tokens")
    code, text = unimo(capsys, *command(tmp_path / "a", "--shards", prepared, "--resume"))
    assert code == 2 and "ar was trained on tokens of other tokenizers" in text


def test_a_work_folder_that_cannot_be_one_is_named(prepared, tmp_path, capsys) -> None:
    (tmp_path / "file").touch()
    for work in (tmp_path / "file", tmp_path / "file" / "below"):
        code, text = unimo(capsys, *command(work, "--shards", prepared))
        assert code == 2 and "a folder for results is wanted, this is a file" in text and "Traceback" not in text


def test_a_disk_that_refuses_ends_in_words(prepared, tmp_path, capsys, monkeypatch) -> None:
    def full(*_, **__) -> None:
        raise OSError(28, "No space left on device", "checkpoint")

    monkeypatch.setattr("unimo.training.loop.save_checkpoint", full)
    code, text = unimo(capsys, *command(tmp_path / "a", "--shards", prepared))
    assert code == 2 and "the results cannot be written (No space left on device)" in text


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (("--mocap", "x"), "--mocap does not go with --shards"),
        (("--clips", 3, "--sweep", "x"), "--clips, --sweep does not go with --shards"),
        (("--validation-mocap", "x"), "--validation-mocap does not go with --shards"),
        (("--validation-shards", "nowhere"), "holds no finished shards"),
    ],
)
def test_what_does_not_go_with_shards_is_refused(prepared, tmp_path, capsys, more, what) -> None:
    code, text = unimo(capsys, *command(tmp_path / "work", "--shards", prepared, *more))
    assert code == 2 and what in text and not (tmp_path / "work").exists()


def test_shards_that_are_not_there_are_refused(tmp_path, capsys) -> None:
    code, text = unimo(capsys, *command(tmp_path / "work", "--shards", tmp_path))
    assert code == 2 and "holds no finished shards" in text and "unimo data prepare" in text
    code, text = unimo(capsys, *command(tmp_path / "work", "--validation-shards", tmp_path))
    assert code == 2 and "belongs to --shards" in text
    code, text = unimo(capsys, *command(tmp_path / "work"))
    assert code == 2 and "--mocap" in text and "--shards DIR" in text
    code, text = unimo(capsys, *command(tmp_path / "work", "--sweep", "nope"))
    assert code == 2 and "there are no ablations here" in text and "nope" in text and "--mocap" not in text


def test_tokens_of_other_tokenizers_or_sizes_are_refused(prepared, tmp_path, capsys) -> None:
    shards = TokenShards.of(prepared)
    write_folder(tmp_path / "others", COUNTS, "x" * 64, "debug", shards.grid, shards.frames)
    code, text = unimo(capsys, *command(tmp_path / "a", "--shards", tmp_path / "others"))
    assert code == 2 and "of other tokenizers" in text and "debug" in text
    made_by, grid = shards.tokenizers, shards.grid
    write_folder(tmp_path / "long", COUNTS, made_by, "debug", (3, *grid[1:]), shards.frames + 8)
    code, text = unimo(capsys, *command(tmp_path / "b", "--shards", tmp_path / "long"))
    assert code == 2 and f"frames {shards.frames + 8}, not {shards.frames}" in text and "--preset" in text
    write_folder(tmp_path / "gone", COUNTS, made_by, "no-such", grid, shards.frames)
    code, text = unimo(capsys, *command(tmp_path / "c", "--shards", tmp_path / "gone"))
    assert code == 2 and "bundle 'no-such', which is not found by its name" in text and "--start-from" in text
    code, text = unimo(capsys, *command(tmp_path / "c", "--shards", tmp_path / "gone", "--start-from", "debug"))
    assert code == 0


def test_a_damaged_shard_stops_the_training_with_its_name(prepared, tmp_path, capsys) -> None:
    shards = TokenShards.of(prepared)
    made = write_folder(tmp_path / "in", COUNTS, shards.tokenizers, "debug", shards.grid, shards.frames)
    damage(made[1].path)
    code, text = unimo(capsys, *command(tmp_path / "work", "--shards", tmp_path / "in"))
    assert code == 2 and "tokens-000001.tar" in text and "sha256 differs" in text
