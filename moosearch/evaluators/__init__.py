"""Where candidates are evaluated: in this process or on Ray. Importing it imports neither torch nor Ray."""

from moosearch.evaluators import ray_pool, serial  # noqa: F401 (registers)
from moosearch.evaluators.evaluator import EVALUATORS, Evaluator, Event, Node, NodesChanged, Pool, Resources
from moosearch.evaluators.exam import Exam
from moosearch.evaluators.work import Begun, EpochDone, Job, Outcome, Work

__all__ = [
    "EVALUATORS",
    "Begun",
    "EpochDone",
    "Evaluator",
    "Event",
    "Exam",
    "Job",
    "Node",
    "NodesChanged",
    "Outcome",
    "Pool",
    "Resources",
    "Work",
]
