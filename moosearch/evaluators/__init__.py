"""Where candidates are evaluated: in this process or on Ray. Importing it imports neither torch nor Ray."""

from moosearch.evaluators import ray_pool, serial  # noqa: F401 (registers)
from moosearch.evaluators.evaluator import EVALUATORS, Evaluator, Pool, Resources
from moosearch.evaluators.exam import Exam
from moosearch.evaluators.work import EpochDone, Job, Outcome, Work

__all__ = ["EVALUATORS", "EpochDone", "Evaluator", "Exam", "Job", "Outcome", "Pool", "Resources", "Work"]
