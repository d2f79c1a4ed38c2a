"""An ONNX file that runs."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Session:
    """An ONNX file on the CPU as a function of tensors: (B, C, H, W) images -> (B, K) logits."""

    def __init__(self, path: Path) -> None:
        """Load it, on as many threads as torch uses."""
        import onnxruntime
        import torch

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, x: "Tensor") -> "Tensor":
        """Run it; no gradient passes."""
        import torch

        (logits,) = self._session.run(["logits"], {"images": x.detach().contiguous().cpu().numpy()})
        return torch.from_numpy(logits).to(x.device)
