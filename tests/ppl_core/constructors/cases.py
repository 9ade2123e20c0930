"""One case of each constructor."""

from tests.ppl_core.constructors import counts, numbers, parts

CASES = numbers.CASES | counts.CASES | parts.CASES
# Without a search, and why.
PARTS = "as its parts"
OTHERS = {
    "Deterministic": "one value",
    "Empirical": "the samples' frequencies",
    "JointDistributionCoroutine": PARTS,
    "JointDistributionCoroutineAutoBatched": PARTS,
    "JointDistributionNamed": PARTS,
    "JointDistributionNamedAutoBatched": PARTS,
    "JointDistributionSequential": PARTS,
    "JointDistributionSequentialAutoBatched": PARTS,
    "Masked": PARTS,
    "PixelCNN": "a network",
    "VectorDeterministic": "one value",
}
