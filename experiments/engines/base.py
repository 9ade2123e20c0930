"""What all engines share: variables by name, their arrays, and the calls of a step."""

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.training import state, train_step
from experiments.training.engine import Engine, StepSettings
from experiments.training.model import Model, Tensors
from experiments.training.optimizers import Optimizer
from experiments.training.prng import BatchRng
from experiments.training.topology import Topology


class BaseEngine(Engine):
    """An engine that keeps variables by name and compiles two functions.

    A subclass says how a variable is created, where its local copies are, how a batch
    goes to the devices, and what `_train_step` and `_evaluation_step` compute there.
    """

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        topology: Topology,
        settings: StepSettings,
        *,
        devices: Sequence[str],
        jit_compile: bool = False,
    ) -> None:
        """devices: of this process, "GPU:0" and so on.

        jit_compile: of the two functions as a whole.
        """
        super().__init__(model, optimizer, topology, settings)
        self._devices = list(devices)
        self._specs = state.variable_specs(
            model, optimizer, ema=settings.ema_decay is not None
        )
        self._variables: dict[str, Any] = {}
        self._train = tf.function(
            self._train_step, jit_compile=jit_compile, autograph=False
        )
        self._evaluate = tf.function(
            self._evaluation_step, jit_compile=jit_compile, autograph=False
        )

    @abc.abstractmethod
    def _create(self, name: str, value: np.ndarray) -> Any:
        """The variable of this name on all local devices that keep it."""

    @abc.abstractmethod
    def _local_copies(self) -> Iterator[tuple[str, str, Any]]:
        """Name, device and variable of every copy on this process's devices."""

    @abc.abstractmethod
    def _inputs(self, batch: Mapping[str, np.ndarray], seed: np.ndarray) -> tuple:
        """The arguments of both functions: the batch on its devices, and the seed."""

    @abc.abstractmethod
    def _train_step(self, *inputs: Any) -> dict[str, tf.Tensor]:
        """Updates the variables; returns what `step` does."""

    @abc.abstractmethod
    def _evaluation_step(self, *inputs: Any) -> dict[str, tf.Tensor]:
        """Returns what `evaluate` does."""

    def initialize(self, seed: int) -> None:
        for name, spec in self._specs.items():
            value = state.initial_value(spec, self.model, seed)
            self._variables[name] = self._create(name, value)

    def step(
        self, batch: Mapping[str, np.ndarray], step_index: int, seed: int
    ) -> dict[str, tf.Tensor]:
        seed = train_step.step_seed(seed, step_index)
        return self._train(*self._inputs(batch, seed))

    def evaluate(
        self, batch: Mapping[str, np.ndarray], batch_index: int, seed: int
    ) -> dict[str, tf.Tensor]:
        seed = train_step.step_seed(seed, batch_index)
        return self._evaluate(*self._inputs(batch, seed))

    def read_variables(self) -> dict[str, np.ndarray]:
        first = {}
        for name, _, variable in self._local_copies():
            first.setdefault(name, variable)
        return {name: first[name].numpy() for name in self._specs}

    def write_variables(self, arrays: Mapping[str, np.ndarray]) -> None:
        state.check_arrays(self._specs, arrays, self.model)
        for name, _, variable in self._local_copies():
            # np.array copies: TensorFlow may share the caller's memory otherwise.
            variable.assign(np.array(arrays[name]))

    def bytes_per_device(self) -> dict[str, int]:
        sizes = dict.fromkeys(self._devices, 0)
        for _, device, variable in self._local_copies():
            sizes[device] += variable.shape.num_elements() * variable.dtype.size
        return sizes

    def _loss_inputs(self, *, ema: bool) -> dict[str, tf.Tensor]:
        """The values of weights and state, by the names that the loss uses.

        ema: of the averages of the weights, where the engine keeps them.
        """
        ema = ema and self.settings.ema_decay is not None
        names = state.loss_inputs(self.model, ema=ema)
        return {
            name: self._variables[full].read_value() for name, full in names.items()
        }


def shard_batch(
    batch: Mapping[str, np.ndarray],
    devices: Sequence[str],
    *,
    num_microbatches: int = 1,
) -> list[dict[str, tf.Tensor]]:
    """The examples of each device, on the device.

    Raises ValueError for a batch that does not divide.
    """
    size = train_step.check_batch(
        batch, num_shards=len(devices), num_microbatches=num_microbatches
    )
    size //= len(devices)
    shards = []
    for i, device in enumerate(devices):
        own = slice(i * size, (i + 1) * size)
        with tf.device(device):
            # The identity moves integers too, which otherwise stay on the host.
            shards.append({n: tf.identity(array[own]) for n, array in batch.items()})
    return shards


def loss_and_gradients(
    model: Model,
    settings: StepSettings,
    weights: Tensors,
    batch: Tensors,
    seed: tf.Tensor,
    *,
    first_example: tf.Tensor,
    num_replicas: int = 1,
    gradients: bool,
) -> train_step.LossAndGradients:
    """The contribution of one replica's examples, in microbatches, to the global batch.

    weights: and the state beside them.
    first_example: its number in the global batch.
    """
    size = next(iter(batch.values())).shape[0]
    return train_step.accumulate_gradients(
        lambda part, first: train_step.loss_and_gradients(
            model,
            settings,
            weights,
            part,
            BatchRng(seed, first, training=gradients),
            num_examples=size * num_replicas,
            gradients=gradients,
        ),
        batch,
        first_example,
        settings.num_microbatches,
    )


def update_variables(
    optimizer: Optimizer,
    settings: StepSettings,
    variables: Mapping[str, tf.Variable],
    grads: Tensors,
    *,
    next_state: Tensors,
    apply_gradients: Callable | None = None,
) -> tf.Tensor:
    """Assigns every variable its value after a step; returns the gradient norm.

    variables: by name, on the device that this is called on.
    next_state: new values of the model's state, by variable name.
    apply_gradients: (values, gradients) -> (new values, norm); None:
      `train_step.apply_gradients`.
    """
    if train_step.applies_in_place(optimizer, settings):
        norm = train_step.apply_gradients_in_place(
            optimizer, settings, variables, grads
        )
        values = next_state
    else:
        values = {name: variable.read_value() for name, variable in variables.items()}
        if apply_gradients is None:
            values, norm = train_step.apply_gradients(
                optimizer, settings, values, grads
            )
        else:
            values, norm = apply_gradients(values, grads)
        values = {**values, **next_state}
    for name, variable in variables.items():
        if name in values:
            variable.assign(values[name])
    return norm
