"""Filming: a whole episode of each variation, drawn from what was observed; refused before anything is played."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gsljax import api, filming
from gsljax.algorithms import PPOConfig, make_ppo
from gsljax.envs import Pools, PoolStep
from gsljax.errors import UserError
from gsljax.evaluation import play_once
from gsljax.filming import CONTACT_SHEET, Filming, style_of
from gsljax.gsl.config import GSLConfig, TrainingConfig
from gsljax.gsl.network_config import NetworkConfig
from gsljax.networks import ActorCritic
from gsljax.presets import MAZE, PRESETS, Preset
from gsljax.report.film import FilmStyle
from gsljax.types import ActionSpec, EnvSpec
from tests.gsl import tiny
from tests.maniskill import needs_maniskill
from tests.pool_environments import counting_pools

pytestmark = [
    pytest.mark.usefixtures("compilation_cache"),
    pytest.mark.filterwarnings("ignore:Error reading persistent compilation cache"),
]


class ImagePool:
    """Images `[8, 8, 3]` whose first pixel says the variation and whose second the time; variation v has v + 2 steps.

    The reward of a step is 1.
    """

    def __init__(self, variations, seeds):
        self.variation, self.lanes = variations[0], len(seeds)
        self.time = -1

    def reset(self):
        pass

    def send(self, action):
        del action

    def receive(self):
        self.time = 0 if self.time == self.variation + 2 else self.time + 1
        observation = np.full((self.lanes, 8, 8, 3), 100, np.uint8)
        observation[:, 0, 0], observation[:, 0, 1] = self.variation, 20 * self.time
        no, ended = np.zeros(self.lanes, bool), np.full(self.lanes, self.time == self.variation + 2)
        return PoolStep(observation, np.ones(self.lanes), ended, no)

    def close(self):
        pass


def image_pools():
    spec = EnvSpec("images", 3, (8, 8, 3), "uint8", ActionSpec(num_actions=2), 6, has_success=False)
    return Pools(spec, lambda variations, seeds, num_threads: ImagePool(variations, seeds))


TRAINING = TrainingConfig(lanes=3, ppo=PPOConfig(num_epochs=1, minibatch_size=6))
CONFIG = GSLConfig(
    method="ppo", total_samples=20, rollout_steps=4, network=NetworkConfig(hidden=(4,)), baseline=TRAINING,
    num_low_performing=2, num_specialists=2, generalist=TRAINING, specialist=TRAINING, phase_two=TRAINING,
    evaluation_episodes=1,
)  # fmt: skip


def flattened(observation):
    """Variation and time of an image, as numbers that an MLP takes."""
    return observation[..., 0, :2, 0].astype(jnp.float32)


class Flat(ActorCritic):
    """A network that looks at those two pixels."""

    def __call__(self, observation):
        return super().__call__(flattened(observation))


@pytest.fixture
def played():
    """What `play_once` gives of variations of an environment, ascending."""

    def play(environment, variations, network=ActorCritic):
        spec = environment.spec
        algorithm = make_ppo(network(spec.action, (4,)), spec, PPOConfig(minibatch_size=6))
        found = []
        play_once(
            environment, algorithm.act, algorithm.init(jax.random.key(0)), np.array(variations, np.int32),
            jax.random.key(1), found.append,
        )  # fmt: skip
        return sorted(found, key=lambda episode: episode.variation)

    return play


def test_one_whole_episode_of_each_variation_is_played_in_pools(played):
    episodes = played(counting_pools(), [0, 3, 2])
    assert [episode.variation for episode in episodes] == [0, 2, 3]
    for episode in episodes:
        length = episode.variation + 2
        assert episode.observation.shape == (length, 5)
        np.testing.assert_array_equal(episode.observation[:, 3], range(length))  # the time
        assert episode.final_observation[3] == length
        reward = episode.variation + 1 + episode.action / 4
        assert episode.episode_return == pytest.approx(reward.sum())


def test_one_whole_episode_of_each_variation_is_played_in_jax(played):
    environment = tiny.PRESET.make_environment(tiny.CONFIG)
    maze, episodes = environment.environment, played(environment, [4, 1])
    assert [episode.variation for episode in episodes] == [1, 4]
    for episode in episodes:
        assert episode.observation.shape == (tiny.HORIZON, 5) and episode.action.shape == (tiny.HORIZON, 2)
        assert np.all(np.abs(episode.action) <= 1)
        observations = [*episode.observation, episode.final_observation]
        positions = np.asarray(maze.positions(np.stack(observations)))
        moved = jax.vmap(maze.move)(positions[:-1], episode.action * maze.config.max_speed)
        np.testing.assert_allclose(moved, positions[1:], atol=1e-5)
        distance = np.abs(positions[1:] - maze.goals[episode.variation]).sum(1)
        assert episode.episode_return == pytest.approx(-maze.config.reward_scale * distance.sum(), rel=1e-4)
        at_goal = np.linalg.norm(positions[-1] - maze.goals[episode.variation]) <= maze.config.goal_radius
        assert episode.success == at_goal


def filmed(path, **changes):
    environment = image_pools()
    algorithm = make_ppo(Flat(environment.spec.action, (4,)), environment.spec, PPOConfig(minibatch_size=6))
    state = algorithm.init(jax.random.key(0))
    return filming.film(
        Filming(path, **changes), style_of(PRESET, CONFIG, environment.spec), environment, algorithm.act, state,
        jax.random.key(0), "header", quiet=True,
    )  # fmt: skip


PRESET = Preset("images", "images", "seconds", CONFIG, lambda config: image_pools())


def first_pixels(path):
    """Variation and time in each frame of a film, whose pixels are enlarged 40 times below a strip of 44."""
    with Image.open(path) as gif:
        frames = []
        for index in range(gif.n_frames):
            gif.seek(index)
            frames.append(np.asarray(gif.convert("RGB")))
    assert {frame.shape for frame in frames} == {(44 + 320, 320, 3)}
    return [(int(frame[64, 20, 0]), round(int(frame[64, 60, 0]) / 20)) for frame in frames]


@pytest.mark.parametrize("lanes", [1, 64])
def test_images_are_their_own_film(tmp_path, monkeypatch, lanes):
    monkeypatch.setattr(filming, "_MOST_LANES", lanes)
    found = filmed(tmp_path / "video")
    assert found == {
        str(v): {"file": f"variation_{v}.gif", "steps": v + 2, "return": v + 2.0} for v in range(3)
    }  # nothing of success
    assert {path.name for path in (tmp_path / "video").iterdir()} == {
        *(row["file"] for row in found.values()), CONTACT_SHEET,
    }  # fmt: skip
    for v in range(3):
        shown = first_pixels(tmp_path / "video" / f"variation_{v}.gif")
        assert [time for _, time in shown] == list(range(v + 3))  # the final observation as well
        np.testing.assert_allclose([variation for variation, _ in shown], v, atol=9)


def test_only_the_chosen_variations_are_filmed(tmp_path):
    assert list(filmed(tmp_path / "video", variations=(2, 0, 2))) == ["0", "2"]
    with pytest.raises(UserError, match=r"^The video is to show variation 3, but .* images are 0 \.\. 2\."):
        filmed(tmp_path / "other", variations=(3,))
    assert not (tmp_path / "other").exists()


def test_by_default_variations_are_spread_evenly_over_the_ids(tmp_path):
    spec = image_pools().spec
    chosen = [Filming(tmp_path / "x").chosen(spec._replace(num_variations=n)).tolist() for n in (1, 5, 12, 1024)]
    assert chosen[:3] == [[0], list(range(5)), list(range(12))]
    assert len(chosen[3]) == 12 and (chosen[3][0], chosen[3][-1]) == (0, 1023)
    assert set(np.diff(chosen[3])) == {93}


def test_few_lanes_are_open_at_a_time_where_episodes_are_large():
    procgen = image_pools().spec._replace(observation_shape=(64, 64, 3), horizon=6000)
    turns = list(filming._turns(np.arange(20), procgen))
    assert [len(turn) for turn in turns] == [7, 7, 6]
    np.testing.assert_array_equal(np.concatenate(turns), np.arange(20))


def test_a_preset_that_cannot_be_drawn_is_refused():
    spec = counting_pools().spec
    with pytest.raises(UserError, match=r"^The preset images cannot be filmed: .* float32 of shape \(5,\), are no im"):
        style_of(PRESET, CONFIG, spec)
    own = FilmStyle(lambda variation, observation, steps: iter(()))
    assert style_of(PRESET._replace(film_style=lambda config: own), CONFIG, spec) is own
    grey = style_of(PRESET, CONFIG, spec._replace(observation_shape=(8, 8, 1), observation_dtype="uint8"))
    assert grey.title(1) == "variation 1"
    named = spec._replace(
        observation_shape=(8, 8, 1), observation_dtype="uint8", variation_names=("level 7", "level 9")
    )
    assert style_of(PRESET, CONFIG, named).title(1) == "level 9"
    assert len(list(grey.frames(0, np.zeros((4, 8, 8, 1), np.uint8), [0, 3]))) == 2


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_preset_can_be_filmed(preset):
    if preset.name.startswith("push-chair"):
        needs_maniskill()
    elif preset is not MAZE:
        pytest.importorskip("envpool", reason="EnvPool is not installed (pip install 'gsljax[pools]')")
    spec = preset.make_environment(preset.config).spec
    observation = np.ones((2, *spec.observation_shape), spec.observation_dtype)
    style = style_of(preset, preset.config, spec)
    frame, last = style.frames(0, observation, [0, 1])
    assert frame.shape == last.shape and frame.shape[2] == 3 and min(frame.shape[:2]) >= 200


def test_where_films_cannot_go_is_refused(tmp_path):
    (tmp_path / "file").write_text("a file")
    with pytest.raises(UserError, match=r"^The video directory .*file is a file; give a directory that does not exist"):
        Filming(tmp_path / "file")
    with pytest.raises(UserError, match=r"^The video directory .* is not empty; give one that does not exist or is"):
        Filming(tmp_path)
    with pytest.raises(UserError, match=r"^The video directory .*file/video cannot be made \(Not a directory\)"):
        filmed(tmp_path / "file" / "video")


@pytest.fixture(scope="module")
def maze_run(compilation_cache, tmp_path_factory):
    """A finished baseline on the tiny maze."""
    path = tmp_path_factory.mktemp("films") / "run"
    config = tiny.changed(method="ppo", total_samples=300, algorithm="ppo")
    preset = tiny.PRESET._replace(config=tiny.CONFIG)
    api.train(preset, config, path, quiet=True)
    return path


def test_a_finished_run_is_filmed_beside_its_evaluation(maze_run, tmp_path):
    found = api.evaluate(
        maze_run, episodes=1, preset=tiny.PRESET, filming=Filming(tmp_path / "video", (1, 4)), quiet=True
    )
    plain = api.evaluate(maze_run, episodes=1, preset=tiny.PRESET)
    video = found.pop("video")
    assert found == plain
    assert video["directory"] == str(tmp_path / "video") and list(video["episodes"]) == ["1", "4"]
    for row in video["episodes"].values():
        assert row["steps"] == tiny.HORIZON and row["return"] < 0 and isinstance(row["success"], bool)
        with Image.open(tmp_path / "video" / row["file"]) as gif:
            assert gif.n_frames == tiny.HORIZON + 1
    with Image.open(tmp_path / "video" / CONTACT_SHEET) as sheet:
        assert sheet.format == "PNG"


def test_what_cannot_be_filmed_is_refused_before_the_evaluation(maze_run, tmp_path, monkeypatch):
    monkeypatch.setattr(api, "evaluate_variations", lambda *_: pytest.fail("was evaluated"))
    for preset, chosen, message in (
        (tiny.PRESET, (5,), r"variation 5, but the variations of .* are 0 \.\. 4"),
        (tiny.PRESET._replace(film_style=None), (), "preset tiny cannot be filmed"),
    ):
        with pytest.raises(UserError, match=message):
            api.evaluate(maze_run, preset=preset, filming=Filming(tmp_path / "video", chosen))
    assert not (tmp_path / "video").exists()
