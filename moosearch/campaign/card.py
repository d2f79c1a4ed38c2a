"""The model card of an export, in Markdown."""

from collections.abc import Mapping
from typing import Any

from moosearch.space.files import dump

PARITY_IMAGES = 64
"""Images on which an exported program is compared with the network."""

_USE = """\
```python
import numpy as np, onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
images = np.zeros((1, {shape}), dtype=np.float32)  # pixels in [0, 1]; normalization is inside
(logits,) = session.run(["logits"], {{"images": images}})
```

```python
import torch

model = torch.export.load("model.pt2").module()
logits = model(torch.zeros(1, {shape}))
```
"""


def model_card(manifest: Mapping[str, Any]) -> str:
    """Write the model card of an export's manifest, in Markdown."""
    objectives = "\n".join(
        f"| {key.replace('_', ' ')} | {entry['value']:.6g} | {entry['unit']} | {entry['sense']} |"
        for key, entry in manifest["objectives"].items()
    )
    genes = "\n".join(f"| `{path}` | {value} |" for path, value in manifest["genome"].items())
    recipe = dump(manifest["spec"])
    shape = ", ".join(map(str, manifest["input"]["shape"][1:]))
    return f"""# {manifest["campaign"]}: candidate {manifest["candidate"]}

An image classifier of {len(manifest["output"]["classes"])} classes
({", ".join(manifest["output"]["classes"])}), trained adversarially on
`{manifest["spec"]["dataset"]["name"]}` and chosen from the Pareto front of a moosearch campaign.

## What was measured

On the validation split, which also selected the model: expect less on new data. "Robust" is the share of
images that withstood the attacks named in `spec.yaml` as they were run there, not a guarantee against others.

| objective | value | unit | sense |
| --- | --- | --- | --- |
{objectives}

{manifest["flops"]:,} FLOPs an image and {manifest["parameters"]:,} parameters. Rebuilt from the stored
weights, the network has a clean accuracy of {manifest["clean_accuracy_reproduced"]:.4f} on validation.
Largest difference of a logit on {PARITY_IMAGES} images: ONNX {manifest["parity"]["onnx"]:.1e}, torch.export
{manifest["parity"]["torch_export"]:.1e}.

## How to use it

{_USE.format(shape=shape)}
## How it was made

| gene | value |
| --- | --- |
{genes or "| - | - |"}

Seed {manifest["seed"]["campaign"]} of the campaign, {manifest["seed"]["candidate"]} of the candidate;
torch {manifest["versions"]["training"].get("torch", "unknown")}. The whole recipe (`spec.yaml` is a search
space file that trains it again):

```yaml
{recipe}```
"""
