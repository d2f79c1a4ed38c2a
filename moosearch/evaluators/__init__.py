"""Where candidates are evaluated: in this process or on Ray. Importing it imports neither torch nor Ray."""

from moosearch.evaluators import ray_pool, serial  # noqa: F401 (registers)
from moosearch.evaluators.evaluator import EVALUATORS, Evaluator, Pool, Resources
from moosearch.evaluators.work import EpochDone, Outcome, Work

__all__ = ["EVALUATORS", "EpochDone", "Evaluator", "Outcome", "Pool", "Resources", "Work"]
