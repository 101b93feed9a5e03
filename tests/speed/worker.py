"""One side of ``mult_vs_mmsa``: a process that predicts and times on request.

Run by path in the other interpreter, where only torch and MMSA exist: so the project is imported
by the side that needs it, and nothing else but torch here. Requests are lines of JSON on standard
input, answers on standard output.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

WIDTHS = {"text": 768, "audio": 74, "vision": 35}
STEPS = 50
_SHORT = {"text": "l", "audio": "a", "vision": "v"}


def random_inputs(size: int) -> dict[str, Tensor]:
    """Features and labels of one batch, the same in every process."""
    generator = torch.Generator().manual_seed(size)
    inputs = {m: torch.randn(size, STEPS, w, generator=generator) for m, w in WIDTHS.items()}
    return {**inputs, "label": torch.randn(size, generator=generator)}


class Ours:
    """The suite's MulT in its preset ``mmsa``."""

    def __init__(self) -> None:
        from baselines.mult import MulT, MulTConfig
        from benchmark.interface import DataSpec

        spec = DataSpec(WIDTHS, dict.fromkeys(WIDTHS, STEPS), tuple(WIDTHS))
        torch.manual_seed(0)
        self.model = MulT(MulTConfig(**MulT.presets["mmsa"].model), spec)
        self.optimiser = torch.optim.Adam(self.model.parameters(), 1e-3, fused=True)

    def predict(self, inputs: dict[str, Tensor]) -> Tensor:
        from protocols.modalities import Modalities

        size = len(inputs["label"])
        masks = dict.fromkeys(WIDTHS, torch.ones(size, STEPS, dtype=torch.bool))
        available = torch.ones(size, 3, dtype=torch.bool)
        features = {m: inputs[m] for m in WIDTHS}
        return self.model(Modalities(features, masks, available)).prediction

    def share(self, path: str) -> None:
        """Save random weights under the package's names."""
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
        names = {}
        for m, short in _SHORT.items():
            names[f"proj_{short}.weight"] = self.model.project[m].weight.permute(2, 0, 1)
        for pairs, stack in zip(self.model.pairs, self.model.crossmodal, strict=True):
            for group, (target, source) in enumerate(pairs):
                prefix = f"trans_{_SHORT[target]}_with_{_SHORT[source]}"
                names.update(_encoder_weights(stack, group, prefix))
        for targets, stack in zip(self.model.targets, self.model.memory, strict=True):
            for group, target in enumerate(targets):
                names.update(_encoder_weights(stack, group, f"trans_{_SHORT[target]}_mem"))
        heads = {"proj1": "head_in", "proj2": "head_out", "out_layer": "answer"}
        for theirs, ours in heads.items():
            for kind in ("weight", "bias"):
                names[f"{theirs}.{kind}"] = getattr(getattr(self.model, ours), kind)
        torch.save({name: x.detach().contiguous() for name, x in names.items()}, path)


def _encoder_weights(stack: torch.nn.Module, group: int, prefix: str) -> dict[str, Tensor]:
    """One encoder's weights under the package's names."""
    places = {
        "self_attn.in_proj_": "projection", "self_attn.out_proj.": "output",
        "fc1.": "inner", "fc2.": "outer",
    }  # fmt: skip
    names = {}
    for layer in range(stack.layers):
        at = f"{prefix}.layers.{layer}"
        for theirs, ours in places.items():
            names[f"{at}.{theirs}weight"] = getattr(stack, ours)[group, layer].T
            names[f"{at}.{theirs}bias"] = getattr(stack, f"{ours}_bias")[group, layer, 0]
        for number, ours in enumerate(("attention", "inner")):
            norm = f"{at}.layer_norms.{number}"
            names[f"{norm}.weight"] = getattr(stack, f"{ours}_gain")[group, layer, 0]
            names[f"{norm}.bias"] = getattr(stack, f"{ours}_shift")[group, layer, 0]
    names[f"{prefix}.layer_norm.weight"] = stack.last_gain[group, 0, 0]
    names[f"{prefix}.layer_norm.bias"] = stack.last_shift[group, 0, 0]
    return names


class Theirs:
    """The package's MULT with its MOSI settings."""

    def __init__(self) -> None:
        from types import SimpleNamespace

        from MMSA.models.singleTask.MULT import MULT

        settings = SimpleNamespace(
            use_bert=False, dst_feature_dim_nheads=(50, 10), nlevels=4, attn_mask=True,
            feature_dims=tuple(WIDTHS.values()), train_mode="regression", num_classes=1,
            conv1d_kernel_size_l=5, conv1d_kernel_size_a=5, conv1d_kernel_size_v=5,
            attn_dropout=0.3, attn_dropout_a=0.2, attn_dropout_v=0.0, relu_dropout=0.0,
            embed_dropout=0.2, res_dropout=0.0, output_dropout=0.5, text_dropout=0.5,
        )  # fmt: skip
        self.model = MULT(settings)
        self.optimiser = torch.optim.Adam(self.model.parameters(), 1e-3)

    def predict(self, inputs: dict[str, Tensor]) -> Tensor:
        return self.model(inputs["text"], inputs["audio"], inputs["vision"])["M"][:, 0]

    def share(self, path: str) -> None:
        """Take the saved weights."""
        result = self.model.load_state_dict(torch.load(path), strict=False)
        assert not result.unexpected_keys
        assert all(key.endswith("version") for key in result.missing_keys), result.missing_keys


def answer(side: Ours | Theirs, request: dict) -> object:
    """Carry out one request."""
    if request["do"] == "share":
        return side.share(request["path"])
    if request["do"] == "memory":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    inputs = random_inputs(request["batch"])
    if request["do"] == "predict":
        side.model.eval()
        with torch.inference_mode():
            return side.predict(inputs).tolist()
    clock = {"wall": time.perf_counter, "cpu": time.process_time}[request["clock"]]
    return timed(side, inputs, request["do"] == "train", request["seconds"], clock)


def timed(
    side: Ours | Theirs,
    inputs: dict[str, Tensor],
    training: bool,
    seconds: float,
    clock: Callable[[], float],
) -> float:
    """The median rate, in samples per second, of the steps made in that time."""
    side.model.train(training)
    size, spent = len(inputs["label"]), []
    while sum(spent[1:]) < seconds or len(spent) < 4:
        start = clock()
        if training:
            side.optimiser.zero_grad()
            (side.predict(inputs) - inputs["label"]).abs().mean().backward()
            side.optimiser.step()
        else:
            with torch.inference_mode():
                side.predict(inputs)
        spent.append(clock() - start)
    return size / sorted(spent[1:])[len(spent[1:]) // 2]  # the first step warms up


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    chosen: Ours | Theirs = {"ours": Ours, "theirs": Theirs}[sys.argv[1]]()
    for line in sys.stdin:
        print(json.dumps(answer(chosen, json.loads(line))), flush=True)
