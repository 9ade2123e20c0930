"""What every sampler is configured with."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplerSettings:
    """What every sampler is told: a fixed step size, an identity metric, no warm-up."""

    step_size: float  # leapfrog step, in units of the coefficients
    max_depth: int = 10  # doublings at most: 2**max_depth - 1 leapfrogs a draw
    num_results: int = 5  # draws, which is trajectories, a chain
    num_chains: int = 1

    def __post_init__(self) -> None:
        if not self.step_size > 0:
            raise ValueError(f"step_size: given {self.step_size}, wanted above 0")
        for name in ("max_depth", "num_results", "num_chains"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name}: given {getattr(self, name)}, wanted 1 or more"
                )
