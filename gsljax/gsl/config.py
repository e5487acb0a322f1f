"""The configuration of a GSL run: what a preset fills in and the command line lets the user change."""

import dataclasses
import math
import typing
from typing import Literal, TypeVar

from gsljax.algorithms import AuxiliaryConfig, ImitationConfig, PPOConfig, SACConfig
from gsljax.algorithms.imitation import ImitationMethod
from gsljax.errors import UserError
from gsljax.gsl.network_config import NetworkConfig
from gsljax.gsl.plateau import PlateauCriterion

AnyGSLConfig = TypeVar("AnyGSLConfig", bound="GSLConfig")

DemonstrationLabel = Literal["played", "mode"]
PopulationStrategy = Literal["auto", "vmap", "map"]

AlgorithmName = Literal["ppo", "ppg", "sac"]
Method = Literal[
    "gsl", "gsl-classic", "gsl-bc", "gsl-gail", "gsl-no-demonstrations", "gsl-scratch", "ppo", "ppg", "sac"
]

IMITATION_OF_METHOD: dict[str, ImitationMethod] = {
    "gsl-classic": "dapg-classic",
    "gsl-bc": "bc",
    "gsl-gail": "gail",
    "gsl-no-demonstrations": "none",
}
"""The methods that are GSL with another use of the demonstrations in phase II."""
IMITATION_OF_ALGORITHM: dict[AlgorithmName, ImitationMethod] = {"ppo": "dapg", "ppg": "dapg", "sac": "gail"}
"""How the paper uses demonstrations with each algorithm (GSL §4)."""


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How one stage trains."""

    lanes: int = 40
    """Parallel environments of each member."""
    anneal: bool = False
    """Whether the learning rate falls linearly to 0 over the stage's samples."""
    initial_std: float | None = None
    """Std that the stage's members start with, for clones that must explore anew (continuous actions); None keeps what
    they were cloned with."""
    ppo: PPOConfig = dataclasses.field(default_factory=PPOConfig)
    """PPO, or the policy phase of PPG."""
    auxiliary: AuxiliaryConfig = dataclasses.field(default_factory=AuxiliaryConfig)
    """The auxiliary phase of PPG."""
    sac: SACConfig = dataclasses.field(default_factory=SACConfig)
    """SAC."""

    def __post_init__(self):
        if self.lanes < 1:
            raise UserError(f"The number of lanes is {self.lanes}, but must be at least 1.")
        if self.initial_std is not None and not 0 < self.initial_std < math.inf:
            raise UserError(f"A stage's initial_std is {self.initial_std}, but must be positive and finite.")


@dataclasses.dataclass(frozen=True)
class DemonstrationConfig:
    """Which episodes are collected for phase II (GSL §4, Algorithm 1)."""

    specialist_episodes: int = 200
    """Episodes that all specialists together play for demonstrations (N_D^s)."""
    generalist_episodes: int = 0
    """Episodes that the generalist plays on the variations outside E_low (N_D^g); if there are more variations than
    episodes, one on each of so many, evenly spread over them."""
    require_success: bool = True
    """Keep only episodes that were a success, where the environment tells."""
    min_return: float | None = None
    """Keep only episodes with at least this return."""
    min_normalized: float | None = None
    """Keep only episodes with at least this normalised score, where the environment has a score range: 0 is its lower
    end (a trivial policy's return), 1 its upper."""
    label: DemonstrationLabel = "played"
    """Which action a pair holds: the one that was played, or the player's mode at the same observation. The mode has no
    exploration noise to be averaged out, while the noise still spreads the observations (as in DART, Laskey et al.
    2017)."""

    def __post_init__(self):
        if self.specialist_episodes < 1:
            raise UserError(f"The number of specialist_episodes is {self.specialist_episodes}, but must be at least 1.")
        if self.generalist_episodes < 0:
            raise UserError(
                f"The number of generalist_episodes is {self.generalist_episodes}, but must not be negative."
            )
        for name in ("min_return", "min_normalized"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise UserError(f"The demonstrations' {name} is {value}, but must be a finite number, or None.")
        if self.label not in typing.get_args(DemonstrationLabel):
            allowed = " or ".join(repr(label) for label in typing.get_args(DemonstrationLabel))
            raise UserError(f"The demonstrations' label is {self.label!r}, but must be {allowed}.")


@dataclasses.dataclass(frozen=True)
class GSLConfig:
    """One run: Algorithm 1, or the plain baseline with the same total samples.

    A sample is one valid environment step. All budgets are parts of `total_samples`; phase II takes what is left.
    """

    seed: int = 0
    """Seed of everything random in the run."""
    method: Method = "gsl"
    """gsl: the paper's (DAPG with ppo and ppg, GAIL with sac); ppo, ppg, sac: the algorithm alone, as a baseline;
    gsl-classic, gsl-bc, gsl-gail, gsl-no-demonstrations: phase II with classic DAPG, behaviour cloning, GAIL, no
    demonstrations; gsl-scratch: specialists trained from scratch."""
    algorithm: AlgorithmName = "ppo"
    """What every stage trains with."""
    total_samples: int = 480_000
    """Samples of the whole run, over all stages and members."""
    rollout_steps: int = 151
    """Steps of each lane per epoch; horizon + 1 makes whole episodes where nothing ends early."""
    epochs_per_call: int = 1
    """Epochs per call of the compiled program, at most checkpoint_interval; H is looked at, and the parameters that it
    may take are kept, after each call."""
    checkpoint_interval: int = 5
    """Epochs between checkpoints: what a kill can cost."""
    population_strategy: PopulationStrategy = "auto"
    """How a population's members run: all at once (vmap), one after another with the memory of one (map), or as many at
    once as is fastest (auto)."""
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    """The networks."""
    baseline: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    """Training of the baseline (methods ppo, ppg, sac)."""
    generalist: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    """Training of the generalist up to its plateau."""
    generalist_share: float = 0.3
    """Largest share of total_samples for the generalist up to its plateau, look-ahead included."""
    plateau: PlateauCriterion = dataclasses.field(
        default_factory=lambda: PlateauCriterion(kernel_sigma=2.0, window=10, epsilon=0.01)
    )
    """When the generalist has stopped improving (H)."""
    good_enough: float | None = None
    """Mean of the plateau's metric from which on the generalist needs no specialists; None always trains them."""
    low_episodes: int = 8
    """Episodes per variation of the evaluation that finds E_low; they count as samples."""
    num_low_performing: int = 5
    """Number of lowest-performing variations (N_lenv); the most of them, where there is a low_threshold."""
    low_threshold: float | None = None
    """Score in the plateau's metric below which a variation counts as low-performing, up to num_low_performing of them
    and enough for one specialist; None takes num_low_performing, whatever their scores."""
    num_specialists: int = 5
    """Number of specialists (N_s); it divides num_low_performing, and each has the same number of variations. With a
    low_threshold it is the most there can be: fewer low-performing variations take fewer specialists."""
    specialists_per_subset: int = 1
    """Specialists trained on the same variations, of which the one that is the best at last demonstrates."""
    fresh_specialists: int = 0
    """How many of the specialists on the same variations are initialised afresh, the others being cloned: where a clone
    sits in a trap that the generalist has learnt, a fresh one may not (gsl-scratch initialises all of them)."""
    fresh_noise_steps: int = 1
    """How many steps in a row a fresh specialist keeps the same exploration noise, in the trials if there are any:
    noise that lasts finds what must be done for a while to be of any use. 1 draws it anew in every step."""
    trial_share: float = 0.0
    """Share of total_samples, out of specialist_share, in which all specialists_per_subset are trained; only the best
    on each subset goes on after it. 0 trains all of them to the end."""
    inherit_replay: bool = True
    """Whether specialists and the generalist of phase II begin with the generalist's transitions of their variations,
    as many of the newest as their replay holds (sac): a clone with an empty one unlearns before it learns."""
    best_window: int = 1
    """Epochs over whose episodes a specialist's return is averaged to find where it is at its best, as which it
    demonstrates; more than 1 where an epoch has so few episodes that its best is a lucky one."""
    mastery: float | None = None
    """Mean of the plateau's metric over its last 20 epochs from which on a specialist rests (after the trials): it has
    mastered its variations, and the samples that it would take go to the others, or to phase II where all rest. Its
    environments stand still beside pools. None trains all of them to the end."""
    explore_up_to: float | None = None
    """Mean score of a specialist's variations, in the plateau's metric, up to which it starts with
    specialist.initial_std; better ones keep the generalist's std. None starts all of them with it (as gsl-scratch
    always does)."""
    fine_tuning_share: float = 0.0
    """Share of total_samples for fine-tuning on E_low before the specialists are cloned; 0 leaves it out."""
    specialist: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    """Training of the specialists (and of the fine-tuning)."""
    specialist_share: float = 0.2
    """Share of total_samples for all specialists together."""
    demonstrations: DemonstrationConfig = dataclasses.field(default_factory=DemonstrationConfig)
    """Demonstrations for phase II."""
    phase_two: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    """Training of the generalist with demonstrations."""
    imitation: ImitationConfig = dataclasses.field(default_factory=ImitationConfig)
    """How demonstrations enter phase II."""
    evaluation_episodes: int = 40
    """Episodes per variation of the evaluation after the run; they do not count as samples."""

    def __post_init__(self):
        counts = ("total_samples", "rollout_steps", "epochs_per_call", "checkpoint_interval", "low_episodes",
                  "num_low_performing", "num_specialists", "specialists_per_subset", "fresh_noise_steps",
                  "best_window", "evaluation_episodes")  # fmt: skip
        for name in counts:
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}, but must be at least 1.")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed is {self.seed}, but must lie between 0 and 2**32 - 1.")
        for name, allowed in (("method", typing.get_args(Method)), ("algorithm", typing.get_args(AlgorithmName))):
            if getattr(self, name) not in allowed:
                raise UserError(f"{name} is {getattr(self, name)!r}, but must be one of {', '.join(allowed)}.")
        if self.is_baseline and self.method != self.algorithm:
            raise UserError(
                f"method is {self.method!r}, the baseline of that algorithm, but algorithm is {self.algorithm!r}; they "
                "must be the same."
            )
        for name in ("low_threshold", "mastery", "explore_up_to"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise UserError(f"{name} is {value}, but must be a finite number, or None.")
        if self.explore_up_to is not None and self.specialist.initial_std is None:
            raise UserError("explore_up_to is set, but specialist.initial_std is not, with which to explore.")
        if self.explore_up_to is not None and self.fine_tuning_share > 0:
            raise UserError("explore_up_to is set, but fine_tuning_share is not 0, and fine-tuning explores for all.")
        if not 0 <= self.fresh_specialists <= self.specialists_per_subset:
            raise UserError(
                f"fresh_specialists is {self.fresh_specialists}, but must lie between 0 and specialists_per_subset "
                f"({self.specialists_per_subset}), of which it is a part."
            )
        for name in ("generalist_share", "specialist_share"):
            if not 0 < getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}, but must lie between 0 and 1.")
        if not 0 <= self.fine_tuning_share < 1:
            raise UserError(f"fine_tuning_share is {self.fine_tuning_share}, but must lie between 0 and 1.")
        if self.generalist_share + self.specialist_share + self.fine_tuning_share >= 1:
            raise UserError(
                "generalist_share, specialist_share and fine_tuning_share add up to 1 or more, but must leave a share "
                "for phase II."
            )
        if not 0 <= self.trial_share < self.specialist_share:
            raise UserError(
                f"trial_share is {self.trial_share}, but must be at least 0 and below specialist_share "
                f"({self.specialist_share}), of which it is a part."
            )
        if self.mastery is not None and self.specialist.anneal:
            raise UserError(
                "mastery is set and specialist.anneal too, but those who get the others' samples would learn nothing "
                "from them: their learning rate is 0 by then."
            )
        if self.fresh_noise_steps > 1 and self.fresh_specialists == 0 and self.method != "gsl-scratch":
            raise UserError(
                f"fresh_noise_steps is {self.fresh_noise_steps}, but fresh_specialists is 0: nobody would hold it."
            )
        if self.trial_share > 0 and self.specialists_per_subset == 1:
            raise UserError(
                f"trial_share is {self.trial_share}, but specialists_per_subset is 1, which leaves a trial nothing to "
                "choose from."
            )
        if self.imitation.method not in ("dapg", self.imitation_method):
            raise UserError(
                f"imitation.method is {self.imitation.method!r}, but must be {self.imitation_method!r}, as the method "
                f"is {self.method!r} and the algorithm {self.algorithm!r}."
            )
        if self.epochs_per_call > self.checkpoint_interval:
            raise UserError(
                f"epochs_per_call is {self.epochs_per_call}, but must be at most checkpoint_interval "
                f"({self.checkpoint_interval})."
            )
        if self.num_low_performing % self.num_specialists:
            raise UserError(
                f"num_specialists is {self.num_specialists}, but must divide num_low_performing "
                f"({self.num_low_performing}), so that every specialist has equally many variations."
            )

    @property
    def is_baseline(self) -> bool:
        """Whether the method is an algorithm alone, without specialists."""
        return self.method in typing.get_args(AlgorithmName)

    @property
    def variations_per_specialist(self) -> int:
        """How many variations each specialist has."""
        return self.num_low_performing // self.num_specialists

    @property
    def imitation_method(self) -> ImitationMethod:
        """How phase II uses the demonstrations."""
        return IMITATION_OF_METHOD.get(self.method, IMITATION_OF_ALGORITHM[self.algorithm])

    @property
    def training_stages(self) -> tuple[str, ...]:
        """The fields with the settings of the stages that the method trains in."""
        return ("baseline",) if self.is_baseline else ("generalist", "specialist", "phase_two")


def resolve(config: AnyGSLConfig) -> AnyGSLConfig:
    """The configuration with phase II's imitation set as its method and its algorithm say."""
    imitation = dataclasses.replace(config.imitation, method=config.imitation_method)
    return dataclasses.replace(config, imitation=imitation)
