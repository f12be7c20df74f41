"""Varied looks: every look is drawn and looks like itself, clothes move the mesh, basic scenes stay as they are."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from unimo.errors import ConfigError
from unimo.synth.appearance import PARTS, vertex_colors
from unimo.synth.cut import Cut
from unimo.synth.gait import gait_library
from unimo.synth.garments import DETAILS, outfit_colors
from unimo.synth.puppet import dressed_puppet, load_puppet
from unimo.synth.render import render_scene
from unimo.synth.scene import SceneConfig, SceneSampler, sample_scene, stream
from unimo.synth.textures import TEXTURES, band
from unimo.synth.wardrobe import HAIR, LOOKS, Outfit, sample_outfit

VARIED = SceneConfig(side=64, frames=3, looks="varied")
GREY = np.array([[0.6, 0.6, 0.6]])


@pytest.fixture(scope="module")
def library():
    return gait_library(3, seconds=3.0)


@pytest.fixture(scope="module")
def outfits() -> dict[str, Outfit]:
    """One outfit of every look."""
    drawn: dict[str, Outfit] = {}
    for seed in range(400):
        outfit = sample_outfit(np.random.default_rng(seed), GREY)
        drawn.setdefault(outfit.look, outfit)
    return drawn


def colors_of(outfit: Outfit) -> np.ndarray:
    puppet = dressed_puppet("open", outfit.cut)
    return outfit_colors(outfit, puppet.regions, puppet.template)


def test_there_are_many_looks_and_all_are_drawn(outfits):
    assert len(LOOKS) >= 12 and set(outfits) == set(LOOKS)
    for look in LOOKS.values():
        assert {look.cloth, look.bottom_cloth} <= set(TEXTURES) and set(look.hair) <= set(HAIR)
        assert set(look.details) <= set(DETAILS)
    assert len({sample_outfit(np.random.default_rng(seed), GREY).hair for seed in range(60)}) >= 8


def test_looks_differ_from_each_other_and_faces_are_skin(outfits):
    painted = {name: colors_of(outfit) for name, outfit in outfits.items()}
    regions = load_puppet("open", fine=True).regions
    face = (regions.part == PARTS.index("head")) & (regions.head_back < -0.05)
    cheek = face & (np.abs(regions.head_up + 0.03) < 0.01)
    hands = regions.part == PARTS.index("hand")
    assert cheek.sum() >= 5
    for name, colors in painted.items():
        assert colors.dtype == np.float32 and colors.min() >= 0 and colors.max() <= 1
        assert np.allclose(colors[hands], outfits[name].skin, atol=1e-6), name
        assert np.abs(np.median(colors[cheek], axis=0) - outfits[name].skin).max() < 0.02, name
    names = list(painted)
    for i, first in enumerate(names):
        for second in names[:i]:
            assert np.abs(painted[first] - painted[second]).mean() > 0.02, (first, second)


def test_stripes_run_round_the_body_and_trousers_end_at_the_ankle(outfits):
    outfit = outfits["sailor"]
    colors, regions = colors_of(outfit), load_puppet("open", fine=True).regions
    belly = (regions.part == PARTS.index("trunk")) & (regions.trunk > 0.3) & (regions.trunk < 0.8)
    expected = band(regions.rest[:, 1], outfit.period)
    share = (colors - outfit.top) @ (np.array(outfit.second) - outfit.top)
    share /= np.sum((np.array(outfit.second) - outfit.top) ** 2)
    assert np.corrcoef(share[belly], expected[belly])[0, 1] > 0.9
    knee = (regions.part == PARTS.index("leg")) & (np.abs(regions.leg - 1.2) < 0.1)
    assert np.allclose(colors[knee], outfit.skin, atol=1e-6)  # shorts
    jeans = colors_of(outfits["t-shirt and jeans"])[knee]
    assert jeans.std() > 0.02 and (jeans[:, 2] > jeans[:, 0]).all()  # blue and uneven


def test_a_skirt_closes_the_gap_between_the_legs():
    bare, skirt = load_puppet("open", fine=True), dressed_puppet("open", Cut(skirt=1.0, flare=0.1))
    assert skirt.topology is bare.topology and skirt.regions is bare.regions

    def gap(vertices: np.ndarray) -> float:
        """Widest run without a vertex, in front, at mid thigh."""
        chosen = vertices[(np.abs(vertices[:, 1] + 0.6) < 0.04) & (vertices[:, 2] > 0.02)]
        return float(np.diff(np.sort(chosen[:, 0])).max())

    assert gap(bare.template) > 0.05 > gap(skirt.template)
    below = bare.regions.leg > 1.05
    assert np.array_equal(bare.template[below], skirt.template[below])
    assert np.allclose(skirt._weights.sum(axis=1), 1.0, atol=1e-5)
    # the two front edges belong to both legs alike, and so stay together when the legs part
    x, y, z = skirt.template.T
    seam = (np.abs(x) < 1e-3) & (np.abs(y + 0.6) < 0.1) & (z > 0.1)
    assert seam.sum() >= 4 and np.abs(skirt._weights[seam][:, 1] - skirt._weights[seam][:, 2]).max() < 0.02


def test_clothes_stand_off_the_body_and_the_bare_cut_is_the_body():
    bare = load_puppet("open", fine=True)
    assert np.array_equal(bare.dressed(Cut()).template, bare.template)
    thick = bare.dressed(Cut(top=0.02, bottom=0.01, hair=0.015))
    moved = np.linalg.norm(thick.template - bare.template, axis=1)
    part = bare.regions.part
    assert np.median(moved[(part == PARTS.index("arm")) & (bare.regions.arm < 1.9)]) == pytest.approx(0.02, abs=1e-3)
    assert np.median(moved[(part == PARTS.index("leg")) & (bare.regions.leg < 1.9)]) == pytest.approx(0.01, abs=1e-3)
    assert moved[part == PARTS.index("hand")].max() == 0 and moved[part == PARTS.index("head")].max() > 0.014
    assert np.array_equal(thick.rest_joints(np.zeros(10)), bare.rest_joints(np.zeros(10)))


def test_the_fine_mesh_is_closed_and_of_the_body():
    faces = load_puppet("open", fine=True).topology.faces
    sides = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    assert (np.unique(sides, axis=0, return_counts=True)[1] == 2).all()
    assert len(faces) < 12000
    count = {name: np.bincount(load_puppet("open", fine=name == "fine").regions.part) for name in ("fine", "low")}
    trunk, arm, hand = (PARTS.index(name) for name in ("trunk", "arm", "hand"))
    assert count["fine"][trunk] > 3 * count["low"][trunk] and count["fine"][arm] > 3 * count["low"][arm]
    assert count["fine"][hand] < 400  # of thousands
    assert np.ptp(load_puppet("open", fine=True).template[:, 1]) == pytest.approx(load_puppet("open").stature, abs=2e-3)


def test_a_varied_scene_is_one_outfit_and_can_be_made_again(library):
    scene = sample_scene(library, 4, VARIED)
    assert scene.look in LOOKS and scene.cut is not None
    again = dressed_puppet("open", Cut(**asdict(scene.cut)))
    assert np.array_equal(again.template, scene.puppet.template)
    assert np.array_equal(sample_scene(library, 4, VARIED).vertex_colors(), scene.vertex_colors())
    looks = {sample_scene(library, seed, VARIED).look for seed in range(60)}
    assert len(looks) >= 12


def test_varied_looks_change_what_is_seen_and_not_what_is_done(library):
    basic = sample_scene(library, 4, SceneConfig(side=64, frames=3))
    varied = sample_scene(library, 4, VARIED)
    assert basic.look == "basic" and basic.cut is None and basic.puppet is load_puppet("open")
    assert np.array_equal(basic.vertex_colors(), vertex_colors(basic.looks.appearance, basic.puppet.regions))
    assert np.array_equal(basic.motion.betas, varied.motion.betas) and basic.looks == varied.looks
    assert not np.array_equal(render_scene(basic).rgb, render_scene(varied).rgb)


def test_clothes_stay_in_the_picture(library):
    sampler = SceneSampler(library, VARIED)
    for seed in range(12):
        mask = render_scene(sampler.sample(seed)).mask
        assert not mask[:, [0, -1]].any() and not mask[:, :, [0, -1]].any(), seed


def test_streams_are_independent_of_each_other():
    first = {name: stream(3, name).random() for name in ("motion", "looks", "camera", "outfit", "noise", "tracks")}
    assert len(set(first.values())) == 6
    assert first["looks"] == np.random.Generator(np.random.PCG64(np.random.SeedSequence(3).spawn(2)[1])).random()


@pytest.mark.parametrize(
    ("field", "value"),
    [("looks", "fancy"), ("camera", "drone"), ("motion_blur", 1.5), ("sensor_noise", -1.0), ("tracks", 0)],
)
def test_impossible_wishes_are_refused(field, value):
    with pytest.raises(ConfigError, match=field):
        SceneConfig(**{field: value})
