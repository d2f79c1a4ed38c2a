"""What is trained: architectures, the multi-task network, and what it costs."""

from moosearch.models import alexnet, lenet, preact, resnet, shallow_cnn, small_cnn  # noqa: F401 (registers)
from moosearch.models.architecture import ARCHITECTURES, Architecture, build_network
from moosearch.models.cost import count_flops, count_parameters, peak_memory
from moosearch.models.defenses import DENOISERS, INPUT_DEFENSES, DefenseSpec
from moosearch.models.network import Outputs, RobustNet

__all__ = [
    "ARCHITECTURES",
    "DENOISERS",
    "INPUT_DEFENSES",
    "Architecture",
    "DefenseSpec",
    "Outputs",
    "RobustNet",
    "build_network",
    "count_flops",
    "count_parameters",
    "peak_memory",
]
