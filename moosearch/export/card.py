"""The model card of an export, in Markdown, after the conventions of Hugging Face's model cards."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moosearch.campaign.confirmation import OVERESTIMATED
from moosearch.export.files import FILE_OF_PROGRAM, INT8, NETWORK, ONNX, PROGRAM, SPEC
from moosearch.space.files import dump
from moosearch.text import counted, escape_markdown

PARITY_IMAGES = 64
"""Images on which an exported program is compared with the network."""


def model_card(manifest: Mapping[str, Any]) -> str:
    """Write the model card of an export's manifest: YAML front matter, then Markdown.

    A card is published: of absolute paths it has the last part.
    """
    told = ("spec", "genome", "objectives", "quantized", "confirmation")
    manifest = {**manifest, **{key: _without_folders(manifest[key]) for key in told}}
    front_matter = _yaml(_metadata(manifest))
    sections = {
        "Model description": _description(manifest),
        "Intended use": _intended(manifest),
        "Out-of-scope use": _OUT_OF_SCOPE,
        "How to use it": _use(manifest),
        "Training data": _training_data(manifest),
        "Training procedure": _procedure(manifest),
        "Threat model": _threats(manifest),
        "Evaluation": _evaluation(manifest),
        "Evaluation of the quantized model": _quantized(manifest),
        "Confirmation": _confirmed(manifest["confirmation"]),
        "Limits and risks": _limits(manifest),
        "Latency and parity": _latency(manifest),
        "Environmental cost": _cost(manifest),
    }
    body = "\n\n".join(f"## {title}\n\n{text.strip()}" for title, text in sections.items() if text)
    title = f"# {escape_markdown(manifest['campaign'])}: candidate {manifest['candidate']}"
    return f"---\n{front_matter}\n---\n\n{title}\n\n{body}\n"


def _metadata(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Hugging Face's hub reads. It knows no robust accuracy: that is one more accuracy."""
    kind, dataset = manifest["spec"]["dataset"]["name"], _dataset(manifest)
    metrics = [
        {
            "type": "accuracy",
            "name": name.replace("_", " "),
            "value": entry["kept"],
            "args": {"split": "validation", "images": entry["images"]}
            | (
                {"attacks": entry["attacks"], "over": entry.get("over", "worst_case")}
                if "attacks" in entry
                else {}
            ),
        }
        for name, entry in _accuracies(manifest).items()
    ]
    result = {
        "task": {"type": "image-classification", "name": "image classification"},
        "dataset": {"type": kind, "name": dataset, "split": "validation"},
        "metrics": metrics,
    }
    tags = ["adversarial-robustness"] if manifest["threats"] else []
    formats = ["onnx", "safetensors", *(["int8"] if manifest["quantized"] else [])]
    published = {"datasets": [kind]} if kind == dataset else {}  # the hub looks these names up
    return {
        "library_name": "pytorch",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", *tags, "moosearch", *formats],
        **published,
        "metrics": ["accuracy"],
        "model-index": [
            {
                "name": f"{manifest['campaign']}-{manifest['candidate']}",
                "results": [result] if metrics else [],
            }
        ],
    }


def _accuracies(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {k: entry for k, entry in manifest["objectives"].items() if "interval" in entry}


def _dataset(manifest: Mapping[str, Any]) -> str:
    """Name the dataset: what is published by its name, the user's own by that of its file or folder."""
    dataset = manifest["spec"]["dataset"]
    return Path(dataset["path"]).name if "path" in dataset else str(dataset["name"])


def _description(manifest: Mapping[str, Any]) -> str:
    classes = manifest["output"]["classes"]
    channels, height, width = manifest["input"]["shape"][1:]
    attack = _named(manifest["spec"]["training"]["attack"])[0]
    images = "images as they are" if attack == "none" else f"images that `{attack}` perturbs"
    if not manifest["genome"]:
        origin = "It is one recipe, trained by moosearch without a search."
    elif manifest["on_front"]:
        origin = "It is on the Pareto front of a moosearch campaign."
    else:
        origin = "It is a candidate of a moosearch campaign, **not** one of its Pareto front."
    return f"""An image classifier of {len(classes)} classes, trained on `{_dataset(manifest)}`, on {images}.
{origin}

- **Architecture:** `{manifest["spec"]["architecture"]["name"]}`, {manifest["parameters"]:,} parameters,
  {manifest["flops"]:,} FLOPs an image (a multiply-accumulate is two)
- **Input:** `images`, float32 of shape (batch, {channels}, {height}, {width}), raw pixels in [0, 1];
  normalization is part of the model
- **Output:** `logits`, float32 of shape (batch, {len(classes)})
- **Classes:** {", ".join(escape_markdown(name) for name in classes)}"""


def _intended(manifest: Mapping[str, Any]) -> str:
    tampered = "and whose inputs may be tampered with to the extent that the threat model says"
    return f"""Research on adversarial robustness, and as a starting point for systems that classify images
like those in training, {tampered if manifest["threats"] else "and whose inputs nobody tampers with"}."""


_OUT_OF_SCOPE = """\
Images of another kind, size or source than the training data; decisions that harm people when they are wrong;
attackers beyond the threat model (larger or other perturbations, patches, rotations, poisoned training data).
It does not say "none of these": an image of something else is put into one of the classes."""


def _use(manifest: Mapping[str, Any]) -> str:
    shape = ", ".join(map(str, manifest["input"]["shape"][1:]))
    parts = [
        "Images go in as raw pixels in [0, 1]; the batch size is free.",
        _code(
            "python",
            f"""import numpy as np, onnxruntime

session = onnxruntime.InferenceSession("{ONNX}")
images = np.zeros((1, {shape}), dtype=np.float32)
(logits,) = session.run(["logits"], {{"images": images}})""",
        ),
        _code(
            "python",
            f"""import torch

model = torch.export.load("{PROGRAM}").module()
logits = model(torch.zeros(1, {shape}))""",
        ),
    ]
    if NETWORK not in manifest["missing"]:
        parts += [
            f"`{NETWORK}` is the network in plain torch operations, for which torch alone suffices:",
            _code(
                "python",
                f"""import torch
from network import CLASSES, load

model = load()  # an nn.Module with the weights beside the file
logits = model(torch.zeros(1, {shape}))""",
            ),
        ]
    else:
        parts.append(f"There is no `{NETWORK}`: {escape_markdown(manifest['missing'][NETWORK])}")
    if manifest["quantized"]:
        parts.append(f"`{INT8}` is used like `{ONNX}`.")
    parts += [
        "From a terminal, where moosearch is installed:",
        _code("bash", "moosearch predict . image.png"),
    ]
    return "\n\n".join(parts)


def _training_data(manifest: Mapping[str, Any]) -> str:
    dataset = dict(manifest["spec"]["dataset"])
    auxiliary, training = dataset.get("auxiliary") or [], manifest["spec"]["training"]
    tasks = f" Auxiliary tasks in training: {', '.join(map(str, auxiliary))}." if auxiliary else ""
    selected = [
        *(["the epoch of these weights"] if training["checkpoint"] == "best" else []),
        *(["this candidate among others"] if manifest["genome"] else []),
    ]
    on = f" On its validation split {' and '.join(selected)} was selected." if selected else ""
    return f"The training split of `{_dataset(manifest)}`.{on}{tasks}"


def _procedure(manifest: Mapping[str, Any]) -> str:
    genes = _table(("gene", "value"), ((f"`{path}`", _cell(v)) for path, v in manifest["genome"].items()))
    return f"""{"The search chose:" if manifest["genome"] else "One recipe, without a search."}

{genes if manifest["genome"] else ""}

Seed {manifest["seed"]["campaign"]} of the campaign, {manifest["seed"]["candidate"]} of the candidate; torch
{manifest["versions"]["training"].get("torch", "unknown")}. The whole recipe (`{SPEC}` is a search space file
that trains it again):

{_code("yaml", _yaml(manifest["spec"]))}"""


_MOVES: Mapping[str, str] = {
    "linf": "moves every pixel by at most {eps:.4g} (pixels lie in [0, 1])",
    "l2": "moves an image by at most {eps:.4g} in Euclidean distance (pixels lie in [0, 1])",
}


def _threats(manifest: Mapping[str, Any]) -> str:
    if not manifest["threats"]:
        return "None: the campaign did not ask for robustness, and nothing is claimed."
    knows = (
        "The attacker knows everything: architecture, weights, preprocessing and the true class. The attacker"
    )
    balls = "\n".join(f"- {_moves(threat)}" for threat in manifest["threats"])
    either = " does one of these:" if len(manifest["threats"]) > 1 else ""
    return f"""{knows}{either}

{balls}

and wants any wrong class. Images are attacked after training; the training data is trusted."""


def _moves(threat: Mapping[str, Any]) -> str:
    form = _MOVES.get(threat["norm"], "moves an image by at most {eps:.4g}, measured by {norm}")
    return form.format(norm=threat["norm"], eps=threat["eps"])


_OVER = {None: "the worst case of", "worst_case": "the worst case of", "mean": "the mean over each of"}
"""How several attacks count; manifests of older exports do not say."""


def _evaluation(manifest: Mapping[str, Any]) -> str:
    rows = []
    several = any(entry["std"] is not None for entry in manifest["objectives"].values())
    for key, entry in manifest["objectives"].items():
        spread = f"{entry['value']:.4f} ± {entry['std']:.4f}" if entry["std"] is not None else ""
        better = "higher" if entry["sense"] == "maximize" else "lower"
        interval = _interval(entry.get("interval"))
        row = (key.replace("_", " "), _value(entry), interval, spread, entry["unit"], better)
        rows.append(row if several else (*row[:3], *row[4:]))
    head = ("metric", "value", "95 % interval", "over trainings", "unit", "better is")
    table = _table(head if several else (*head[:3], *head[4:]), rows)
    attacks = "\n".join(
        f"- {key.replace('_', ' ')}, on {counted(entry['images'], 'image')}, {_OVER[entry.get('over')]}: "
        + "; ".join(_attack(attack) for attack in entry["attacks"])
        for key, entry in _accuracies(manifest).items()
        if "attacks" in entry
    )
    clean = manifest["clean_accuracy_reproduced"]
    robust = """
A robust accuracy is the share of images that are classified rightly as they are and under every attack below,
or, where that is said, the mean of the shares under each; it is no guarantee against other attacks."""
    images = counted(manifest["images"], "image")
    return f"""On the **validation split** ({images}), on which the candidate was also
selected: expect less on new data. Intervals are Wilson's, for so many images, and do not know of the
selection.{robust if attacks else ""}

{table}

{attacks}

Rebuilt from the stored weights, the network has a clean accuracy of {clean:.4f}."""


def _quantized(manifest: Mapping[str, Any]) -> str:
    quantized = manifest["quantized"]
    if not quantized:
        return ""
    rows = [
        ("clean accuracy", "", *_share(quantized["clean"]), _number(quantized["float_clean"]["accuracy"]))
    ]
    for key, entry in quantized["robust"].items():
        name = key.replace("_", " ")
        known = manifest["objectives"][key]["kept"]
        rows += [
            (f"**{name}**", "**worst case of both**", *_share(entry["worst_case"]), _number(known)),
            (name, "adaptive: int8 logits, float gradients", *_share(entry["adaptive"]), ""),
            (name, "transferred from the float network", *_share(entry["transferred"]), ""),
        ]
    table = _table(("metric", "attacked how", "int8", "95 % interval", "float32"), rows)
    bytes_ = {name: manifest["files"][name]["bytes"] for name in (ONNX, INT8)}
    none = "" if quantized["robust"] else " The campaign has no robust accuracy, so none was measured."
    return f"""`{INT8}`: {quantized["method"]},
calibrated on {quantized["calibration_images"]:,} training images; {quantized["layers"]} layers compute in
integers. {bytes_[INT8]:,} bytes instead of {bytes_[ONNX]:,}. It puts {quantized["agreement"]:.1%} of the
validation images into the class that the float network names.

Rounding has no gradient, so the quantized model is attacked in two ways: **adaptively**, where the attack
sees the quantized model's logits at every step and uses the float network's gradients in place of its own
(straight-through), and by **transfer** of images that were perturbed for the float network. The worst case of
both counts; it is not a transfer-only number.{none} Split, attacks and random numbers are as above.

{table}"""


def _confirmed(confirmation: Mapping[str, Any] | None) -> str:
    """Write what was confirmed of the recipe, and what is unreliable about it."""
    if confirmation is None:
        return "Nothing: the recipe was not judged on test images (`moosearch confirm` does that)."
    values = _table(
        ("what", "mean", "standard deviation", "95 % interval"),
        (
            (
                name.replace("_", " "),
                f"{value['mean']:.4f}",
                _number(value["std"]),
                _interval(value["interval"]),
            )
            for name, value in confirmation["values"].items()
        ),
    )
    threats = "\n\n".join(
        f"An attacker who knows the network and {_moves(threat)}:\n\n"
        + "\n".join(f"- {name}: {_attack(attack)}" for name, attack in threat["attacks"].items())
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
    return f"""The recipe was trained again with {counted(count, "fresh seed")}, and judged on
{confirmation["images"]:,} test images, which neither training nor search had seen.{failed} These numbers are
of those trainings, not of the weights in this folder: mean and standard deviation over trainings, and the
95 % Wilson interval of the mean for so many images.

{values}

{threats}

{_place(confirmation["standing"])}

{doubts}"""


def _place(standing: Mapping[str, Any]) -> str:
    """Say where a recipe stands among the confirmed."""
    if standing.get("overestimated"):
        return f"**It does not stay on the front: {OVERESTIMATED}.**"
    if standing["probability"] is None:
        return "Whether it stays on the front cannot be said: one training knows nothing of the noise."
    place = (
        "no other dominates it beyond noise" if standing["stays"] else "another **dominates** it beyond noise"
    )
    chance = standing["probability"]
    return f"Among the confirmed recipes {place}; it is non-dominated with probability {chance:.2f}."


def _limits(manifest: Mapping[str, Any]) -> str:
    lines = [
        "Robust accuracies are upper bounds: a stronger attack may find what these did not.",
        "Robust against small perturbations of pixels does not mean robust against other changes: weather, "
        "blur, compression, another camera.",
        "What is wrong or unbalanced in the training data is wrong or unbalanced in the model; accuracies by "
        "group of people, place or device were not measured.",
        "Probabilities (softmax of the logits) were not calibrated.",
    ]
    confirmation = manifest["confirmation"]
    if confirmation is None:
        lines.insert(0, "**No number here was measured on test images.**")
    elif confirmation["failed_checks"]:
        lines.insert(0, "**Checks for masked gradients failed; see Confirmation.**")
    if manifest["quantized"]:
        lines.append(
            "The numbers of the quantized model are those of this processor; x86 processors without VNNI cut "
            "off large sums of 8-bit products, so measure there again."
        )
    return "\n".join(f"- {line}" for line in lines)


def _latency(manifest: Mapping[str, Any]) -> str:
    parity = _table(
        ("program", "largest difference of a logit"),
        ((f"`{FILE_OF_PROGRAM[name]}`", f"{value:.1e}") for name, value in manifest["parity"].items()),
    )
    text = f"Compared with the network on {PARITY_IMAGES} validation images:\n\n{parity}"
    latency = manifest["latency"]
    if not latency:
        return f"{text}\n\nLatency was not measured."
    table = _table(
        ("milliseconds a batch", *(f"{batch}" for batch in latency["batches"])),
        (
            (f"`{FILE_OF_PROGRAM[name]}`", *(_number(value, ".3g") or "-" for value in values))
            for name, values in latency["milliseconds"].items()
        ),
    )
    threads = latency["threads"]
    return f"""{text}

Median times on {escape_markdown(latency["cpu"])}, {counted(threads, "thread")} of {latency["cores"]}
cores, by images in a batch (- where a batch would take too much memory or time):

{table}"""


def _cost(manifest: Mapping[str, Any]) -> str:
    seconds = manifest["seconds"]
    spent = ", ".join(f"{name} {value:,.1f} s" for name, value in seconds.items()) or "not recorded"
    device = manifest["trained_on"] or "a device that was not recorded"
    return f"""This candidate alone, on {escape_markdown(device)}: {spent}. The search trained others besides,
whose cost is in the campaign's table of candidates. Energy was not measured."""


def _attack(attack: Any) -> str:
    name, fields = _named(attack)
    told = ", ".join(f"{key} {escape_markdown(value)}" for key, value in fields.items())
    return f"`{name}` ({told})" if told else f"`{name}`"


def _named(node: Any) -> tuple[str, dict[str, Any]]:
    """Return the name of what a registry made, and its parameters."""
    fields = dict(node) if isinstance(node, Mapping) else {"name": node}
    return str(fields.pop("name", "")), fields


def _without_folders(node: Any) -> Any:
    """Leave of absolute paths the last part: where somebody's files lie is of no use to others."""
    if isinstance(node, str):
        return Path(node).name if node.startswith(("/", "~")) or Path(node).is_absolute() else node
    if isinstance(node, Mapping):
        return {key: _without_folders(value) for key, value in node.items()}
    return [_without_folders(value) for value in node] if isinstance(node, list | tuple) else node


def _value(entry: Mapping[str, Any]) -> str:
    value = entry["kept"]
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def _share(share: Mapping[str, Any]) -> tuple[str, str]:
    return f"{share['accuracy']:.4f}", _interval(share["interval"])


def _interval(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"


def _number(value: float | None, form: str = ".4f") -> str:
    return "" if value is None else format(value, form)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _yaml(tree: Any) -> str:
    return dump(tree).removesuffix("...\n").rstrip()


def _code(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"
