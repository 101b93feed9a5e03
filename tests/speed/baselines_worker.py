"""One side of ``baselines_vs_mmsa``: a process that predicts and times one model on request.

Run by path in both interpreters, beside ``worker``; the project is imported by the side that needs
it. A training step is the method's whole: forward, every term of its loss, backward, clipping where
it has it, and its optimiser.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from worker import STEPS, WIDTHS, random_inputs

PRESETS = {"tfn": "official", "lmf": "official", "misa": "mmsa"}


_NAMES = {"text": "text", "audio": "audio", "vision": "video"}
_CLIP = 0.8


class Ours:
    """A model of the suite, in the preset that has the package's settings."""

    def __init__(self, name: str) -> None:
        from benchmark.interface import DataSpec, Progress
        from benchmark.registry import model_class

        kind = model_class(name)
        torch.manual_seed(0)
        config = kind.Config(**kind.presets[PRESETS[name]].model)
        self.model = kind(config, DataSpec(WIDTHS, dict.fromkeys(WIDTHS, STEPS), tuple(WIDTHS)))
        self.name, self.now = name, Progress(0, 1, 0, 1)
        (self.phase,) = self.model.phases()
        parameters = [p for group in self.phase.groups for p in group["params"]]
        self.optimiser = torch.optim.Adam(parameters, 1e-3, fused=True)

    def batch(self, inputs: dict[str, Tensor]):
        from protocols.modalities import Modalities

        size = len(inputs["label"])
        masks = dict.fromkeys(WIDTHS, torch.ones(size, STEPS, dtype=torch.bool))
        available = torch.ones(size, 3, dtype=torch.bool)
        return Modalities({m: inputs[m] for m in WIDTHS}, masks, available, inputs["label"])

    def predict(self, inputs: dict[str, Tensor]) -> Tensor:
        return self.model(self.batch(inputs)).prediction

    def loss(self, inputs: dict[str, Tensor]) -> Tensor:
        return self.phase.loss(self.batch(inputs), self.now)[0]

    def share(self, path: str) -> None:
        """Save random weights under the package's names: at initialisation TFN is all but flat."""
        with torch.no_grad():
            for parameter in self.model.parameters():
                spread = parameter.shape[-1] ** -0.5 if parameter.dim() > 1 else 0.1
                parameter.add_(torch.randn_like(parameter) * spread)
        weights = {"tfn": _tfn_weights, "lmf": _lmf_weights, "misa": _misa_weights}
        names = weights[self.name](self.model)
        torch.save({name: x.detach().contiguous().clone() for name, x in names.items()}, path)


def _layer(theirs: str, ours: nn.Module) -> dict[str, Tensor]:
    """A layer's weights and buffers under another prefix."""
    return {f"{theirs}.{name}": x for name, x in ours.state_dict().items()}


def _subnetworks(model: nn.Module) -> dict[str, Tensor]:
    """The per-modality networks of TFN and LMF."""
    text = model.networks["text"]
    names = _layer("text_subnet.rnn", text.recurrent.directions[0])
    names |= _layer("text_subnet.linear_1", text.output)
    for m in ("audio", "vision"):
        at = f"{_NAMES[m]}_subnet"
        names |= _layer(f"{at}.norm", model.networks[m].normalise)
        for number, layer in enumerate(model.networks[m].layers):
            names |= _layer(f"{at}.linear_{number + 1}", layer)
    return names


def _tfn_weights(model: nn.Module) -> dict[str, Tensor]:
    names = _subnetworks(model)
    config = model.config
    sizes = (config.hidden_vision + 1, config.hidden_audio + 1, config.text_out + 1)
    product = model.post_in.weight.unflatten(1, sizes).transpose(1, 2).flatten(1)
    names |= {"post_fusion_layer_1.weight": product, "post_fusion_layer_1.bias": model.post_in.bias}
    names |= _layer("post_fusion_layer_2", model.post_inner)
    return names | _layer("post_fusion_layer_3", model.answer)


def _lmf_weights(model: nn.Module) -> dict[str, Tensor]:
    factors = {f"{_NAMES[m]}_factor": model.factors[m] for m in WIDTHS}
    rest = {"fusion_weights": model.rank_weights, "fusion_bias": model.bias[None]}
    return {**_subnetworks(model), **factors, **rest}


def _misa_weights(model: nn.Module) -> dict[str, Tensor]:
    names: dict[str, Tensor] = {}
    for m in WIDTHS:
        short, vector = m[0], model.vectors[m]
        names |= _layer(f"project_{short}.project_{short}", vector.project)
        names |= _layer(f"project_{short}.project_{short}_layer_norm", vector.normalise)
        number = 3 if m == "audio" else 1
        names |= _layer(f"private_{short}.private_{short}_{number}", model.private[m])
        names |= _layer(f"recon_{short}.recon_{short}_1", model.rebuild[m])
        if m == "text":
            continue
        # the package has both layers of one direction side by side, then the other direction
        at = f"project_{short}.project_{short}.weight"
        names[at] = names[at].unflatten(1, (2, 2, -1)).transpose(1, 2).flatten(1)
        names |= _layer(f"{short}layer_norm", vector.between)
        for place, lstm in enumerate((vector.first, vector.second)):
            for direction, end in zip(lstm.directions, ("", "_reverse"), strict=True):
                for name, weight in direction.named_parameters():
                    names[f"{short}rnn{place + 1}.{name}{end}"] = weight
    names |= _layer("shared.shared_1", model.shared)
    names |= _layer("sp_discriminator.sp_discriminator_layer_1", model.shared_or_private)
    names |= _layer("transformer_encoder.layers.0", model.mix.layer)
    names |= _layer("fusion.fusion_layer_1", model.head)
    return names | _layer("fusion.fusion_layer_3", model.answer)


class Theirs:
    """The package's model with its MOSI settings, and its trainer's loss and optimiser."""

    def __init__(self, name: str) -> None:
        from pathlib import Path

        import MMSA

        path = Path(MMSA.__file__).parent / "config" / "config_regression.json"
        listed = json.loads(path.read_text())[name]
        settings = {**listed["commonParams"], **listed["datasetParams"]["mosi"]}
        self.args = SimpleNamespace(
            **settings, feature_dims=tuple(WIDTHS.values()), train_mode="regression",
            num_classes=1, dataset_name="mosi", device="cpu",
        )  # fmt: skip
        self.name = name
        module = sys.modules[f"MMSA.models.singleTask.{name.upper()}"]
        if name == "misa":
            module.BertTextEncoder = Features
        self.model = getattr(module, name.upper())(self.args)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam(parameters, 1e-3)
        self.trainer = None
        if name == "misa":
            trainer = sys.modules["MMSA.trains.singleTask.MISA"].MISA
            self.trainer = trainer(self.args)
            self.trainer.model = SimpleNamespace(Model=self.model)

    def predict(self, inputs: dict[str, Tensor]) -> Tensor:
        if self.name == "misa":
            self.model.bertmodel.features = inputs["text"]
            tokens = torch.ones(len(inputs["label"]), 3, STEPS)
            return self.model(tokens, inputs["audio"], inputs["vision"])["M"][:, 0]
        audio, vision = (inputs[m].mean(1, keepdim=True) for m in ("audio", "vision"))
        return self.model(inputs["text"], audio, vision)["M"].view(-1)

    def loss(self, inputs: dict[str, Tensor]) -> Tensor:
        difference = self.predict(inputs) - inputs["label"]
        if self.trainer is None:
            return difference.abs().mean()
        return (
            difference.square().mean()
            + self.args.diff_weight * self.trainer.get_diff_loss()
            + self.args.sim_weight * self.trainer.get_cmd_loss()
            + self.args.recon_weight * self.trainer.get_recon_loss()
        )

    def share(self, path: str) -> None:
        """Take the saved weights; what has no counterpart must be of no effect."""
        result = self.model.load_state_dict(torch.load(path), strict=False)
        assert not result.unexpected_keys, result.unexpected_keys
        unused = ("output_range", "output_shift", "tlayer_norm.weight", "tlayer_norm.bias")
        assert set(result.missing_keys) <= set(unused), result.missing_keys


class Features(nn.Module):
    """Stands for the package's BERT: gives back frozen features, as the suite has them."""

    def __init__(self, **_: object) -> None:
        super().__init__()
        self.features: Tensor | None = None

    def forward(self, tokens: Tensor) -> Tensor | None:
        return self.features


def timed(side: Ours | Theirs, inputs: dict[str, Tensor], request: dict) -> float:
    """The median rate, in samples per second, of the steps made in that time."""
    clock = {"wall": time.perf_counter, "cpu": time.process_time}[request["clock"]]
    training = request["do"] == "train"
    side.model.train(training)
    size, spent = len(inputs["label"]), []
    while sum(spent[2:]) < request["seconds"] or len(spent) < 6:
        start = clock()
        if training:
            side.optimiser.zero_grad()
            side.loss(inputs).backward()
            if side.name == "misa":
                nn.utils.clip_grad_value_(side.model.parameters(), _CLIP)
            side.optimiser.step()
        else:
            with torch.inference_mode():
                side.predict(inputs)
        spent.append(clock() - start)
    return size / sorted(spent[2:])[len(spent[2:]) // 2]  # the first steps warm up


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
    return timed(side, inputs, request)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    chosen: Ours | Theirs = {"ours": Ours, "theirs": Theirs}[sys.argv[1]](sys.argv[2])
    for line in sys.stdin:
        print(json.dumps(answer(chosen, json.loads(line))), flush=True)
