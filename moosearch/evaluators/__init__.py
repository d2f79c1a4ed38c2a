"""Where candidates are evaluated: in this process or on Ray. Importing it imports neither torch nor Ray."""

from moosearch.evaluators import ray_pool, serial  # noqa: F401 (registers)
from moosearch.evaluators.evaluator import EVALUATORS, Evaluator, Pool, Resources
from moosearch.evaluators.task import EvaluationOnTest, Work
from moosearch.job import Begun, EpochDone, Job, Node, NodesChanged, Outcome, PoolEvent

__all__ = [
    "EVALUATORS",
    "Begun",
    "EpochDone",
    "EvaluationOnTest",
    "Evaluator",
    "Job",
    "Node",
    "NodesChanged",
    "Outcome",
    "Pool",
    "PoolEvent",
    "Resources",
    "Work",
]
