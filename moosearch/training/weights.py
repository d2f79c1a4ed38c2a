"""The network of a candidate, back from the campaign's folder."""

from safetensors.torch import load_file

from moosearch.campaign.folder import CampaignFolder
from moosearch.errors import ExportError
from moosearch.evaluation import Evaluation
from moosearch.models import RobustNet
from moosearch.training import CandidateSpec


def load_network(folder: CampaignFolder, evaluation: Evaluation, spec: CandidateSpec) -> RobustNet:
    """Rebuild a trained candidate, with all heads, on the CPU.

    Raises:
        ExportError: Its weights were not kept, or do not fit.
    """
    path = folder.weights(evaluation.candidate.id)
    if not path.is_file():
        raise ExportError(
            f"{path}: the weights are not there. Those of front members are kept, and of all candidates with "
            f"`keep: all` in the search space file. Train them again by `moosearch resume {folder.root}`."
        )
    net = spec.build_network(seed=0)
    try:
        net.load_state_dict(load_file(path))
    except Exception as error:
        raise ExportError(f"{path}: these are not the candidate's weights: {error}") from error
    return net.eval()
