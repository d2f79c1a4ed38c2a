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

{_confirmed(manifest["confirmation"])}
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


def _confirmed(confirmation: Mapping[str, Any] | None) -> str:
    """Write what was confirmed of the recipe, and what is doubtful about it."""
    if confirmation is None:
        return """## What was confirmed

Nothing: the recipe was not judged on test images (`moosearch confirm` does that).
"""
    values = "\n".join(
        f"| {name.replace('_', ' ')} | {value['mean']:.4f} | {_numbers(value['std'])} | "
        f"{_numbers(*(value['interval'] or [None]))} |"
        for name, value in confirmation["values"].items()
    )
    threats = "\n".join(
        f"An attacker who knows the network and {_MOVES[threat['norm']].format(eps=threat['eps'])}:\n\n"
        + "\n".join(f"- {name}: {_parameters(attack)}" for name, attack in threat["attacks"].items())
        for threat in confirmation["threats"]
    )
    count, lost = confirmation["trainings"], confirmation["trainings_failed"]
    failed = f" {lost} more failed and count for nothing here." if lost else ""
    checks = "\n".join(
        f"- `{name}`, in {check['trainings']} of {confirmation['trainings']}: {check['explanation']}"
        for name, check in confirmation["failed_checks"].items()
    )
    doubts = (
        f"**Checks for masked gradients failed: the robust accuracies are not to be relied on.**\n\n{checks}"
        if checks
        else "No check for masked gradients failed."
    )
    return f"""## What was confirmed

The recipe was trained again with {count} fresh seed{"s" if count > 1 else ""}, and judged on
{confirmation["images"]:,} test images, which neither training nor search had seen.{failed} These numbers are
of those trainings, not of the weights in this folder: mean and standard deviation over trainings, and the
95 % Wilson interval of the mean for so many images.

| what | mean | standard deviation | interval |
| --- | --- | --- | --- |
{values}

{threats}

{_place(confirmation["standing"])}

{doubts}
"""


_MOVES = {
    "linf": "moves every pixel by at most {eps:.4g}",
    "l2": "moves an image by at most {eps:.4g} in Euclidean distance",
}


def _place(standing: Mapping[str, Any]) -> str:
    """Say where a recipe stands among the confirmed."""
    if standing["probability"] is None:
        return "Whether it stays on the front cannot be said: one training knows nothing of the noise."
    place = (
        "no other dominates it beyond noise" if standing["stays"] else "another **dominates** it beyond noise"
    )
    chance = standing["probability"]
    return f"Among the confirmed recipes {place}; it is non-dominated with probability {chance:.2f}."


def _numbers(*values: float | None) -> str:
    return " - ".join("" if value is None else f"{value:.4f}" for value in values)


def _parameters(attack: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in attack.items())
