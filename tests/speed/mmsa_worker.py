"""One side of ``baselines_vs_mmsa``: a process that predicts and times one model on request.

Run by path in both interpreters, so the project and the package are imported by the side that
needs them. A training step is the method's whole: every stage of it with its forward pass, every
term of its loss, backward, clipping where it has it, and its optimiser. Requests are lines of JSON
on standard input, answers on standard output.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from mmsa_weights import DEPARTURES, PRESETS, WIDTHS, weights_of
from torch import Tensor, nn

STEPS = 50
CLIP_VALUE = {"misa": 0.8}
CLIP_NORM = {"mmim": 1.0}
SPREAD = {"mult": 0.05}
WITH_BERT = ("misa", "mmim")

Inputs = dict[str, Tensor]


def random_inputs(size: int) -> Inputs:
    """Features and labels of one batch, the same in every process."""
    generator = torch.Generator().manual_seed(size)
    inputs = {m: torch.randn(size, STEPS, w, generator=generator) for m, w in WIDTHS.items()}
    return {**inputs, "label": torch.randn(size, generator=generator)}


class Ours:
    """A model of the suite, in the preset that has the package's settings."""

    def __init__(self, name: str) -> None:
        from benchmark.interface import DataSpec, Progress
        from benchmark.registry import model_class

        kind = model_class(name)
        torch.manual_seed(0)
        config = kind.Config(**{**kind.presets[PRESETS[name]].model, **DEPARTURES.get(name, {})})
        self.model = kind(config, DataSpec(WIDTHS, dict.fromkeys(WIDTHS, STEPS), tuple(WIDTHS)))
        self.name, self.now = name, Progress(0, 1, 9, 10)  # late enough for MMIM's memory
        self.stages = []
        for phase in self.model.phases():
            parameters = [p for group in phase.groups for p in group["params"]]
            optimiser = torch.optim.Adam(parameters, 1e-3, fused=True)
            self.stages.append((phase.loss, parameters, optimiser))

    def batch(self, inputs: Inputs):
        from protocols.modalities import Modalities

        size = len(inputs["label"])
        masks = dict.fromkeys(WIDTHS, torch.ones(size, STEPS, dtype=torch.bool))
        available = torch.ones(size, 3, dtype=torch.bool)
        return Modalities({m: inputs[m] for m in WIDTHS}, masks, available, inputs["label"])

    def predict(self, inputs: Inputs) -> Tensor:
        return self.model(self.batch(inputs)).prediction

    def train(self, inputs: Inputs) -> None:
        for loss, parameters, optimiser in self.stages:
            optimiser.zero_grad()
            loss(self.batch(inputs), self.now)[0].backward()
            clip(self.name, parameters, foreach=True)
            optimiser.step()

    def share(self, path: str) -> None:
        """Save random weights under the package's names: at initialisation TFN is all but flat."""
        with torch.no_grad():
            for parameter in self.model.parameters():
                spread = parameter.shape[-1] ** -0.5 if parameter.dim() > 1 else 0.1
                spread = SPREAD.get(self.name, spread)
                parameter.add_(torch.randn_like(parameter) * spread)
        torch.save(weights_of(self.name, self.model), path)


class Theirs:
    """The package's model with its MOSI settings, and its trainer's losses and optimisers."""

    def __init__(self, name: str) -> None:
        import MMSA

        path = Path(MMSA.__file__).parent / "config" / "config_regression.json"
        listed = json.loads(path.read_text())[name]
        self.args = SimpleNamespace(
            **{**listed["commonParams"], **listed["datasetParams"]["mosi"]},
            feature_dims=tuple(WIDTHS.values()), train_mode="regression", num_classes=1,
            dataset_name="mosi", device="cpu",
        )  # fmt: skip
        self.args.use_bert = name in WITH_BERT
        self.args.need_data_aligned = False
        module = sys.modules[f"MMSA.models.singleTask.{name.upper()}"]
        if name in WITH_BERT:
            module.BertTextEncoder = Features
        self.name, self.model = name, getattr(module, name.upper())(self.args)
        if name in WITH_BERT:
            trainer = getattr(sys.modules[f"MMSA.trains.singleTask.{name.upper()}"], name.upper())
            self.trainer = trainer(self.args)
            self.trainer.model = SimpleNamespace(Model=self.model)
        parameters = [p for p in self.model.named_parameters() if p[1].requires_grad]
        bounds = [p for n, p in parameters if name == "mmim" and "mi_" in n]
        held = {id(p) for p in bounds}
        rest = [p for _, p in parameters if id(p) not in held]
        self.bound_optimiser = torch.optim.Adam(bounds, 1e-3) if bounds else None
        self.optimiser = torch.optim.Adam(rest, 1e-3)
        self.memory = None

    def run(self, inputs: Inputs, **rest: object) -> dict[str, Tensor]:
        size, audio, vision = len(inputs["label"]), inputs["audio"], inputs["vision"]
        if self.name in WITH_BERT:
            self.model.bertmodel.features = inputs["text"]
            tokens = torch.ones(size, 3, STEPS)
            if self.name == "misa":
                return self.model(tokens, audio, vision)
            lengths = torch.full((size,), STEPS)
            return self.model(tokens, (audio, lengths), (vision, lengths), **rest)
        if self.name in ("tfn", "lmf"):
            audio, vision = (x.mean(1, keepdim=True) for x in (audio, vision))
        return self.model(inputs["text"], audio, vision)

    def predict(self, inputs: Inputs) -> Tensor:
        return self.run(inputs)["M"].view(-1)

    def train(self, inputs: Inputs) -> None:
        if self.name == "mmim":
            return self.train_mmim(inputs)
        self.optimiser.zero_grad()
        difference = self.predict(inputs) - inputs["label"]
        if self.name == "misa":
            loss = (
                difference.square().mean()
                + self.args.diff_weight * self.trainer.get_diff_loss()
                + self.args.sim_weight * self.trainer.get_cmd_loss()
                + self.args.recon_weight * self.trainer.get_recon_loss()
            )
        else:
            loss = difference.abs().mean()
        loss.backward()
        clip(self.name, self.model.parameters())
        self.optimiser.step()
        return None

    def train_mmim(self, inputs: Inputs) -> None:
        """A batch of each stage, as the package's trainer has them."""
        self.model.zero_grad()
        (-self.run(inputs)["lld"]).backward()
        clip(self.name, self.model.parameters())
        self.bound_optimiser.step()

        self.model.zero_grad()
        label = inputs["label"].view(-1, 1)
        memory = self.memory or {"tv": None, "ta": None, "va": None}
        result = self.run(inputs, y=label, mem=memory)
        loss = (result["M"] - label).abs().mean() + self.args.alpha * result["nce"]
        loss = loss - self.args.beta * result["lld"]
        if self.memory:
            loss = loss - self.args.beta * result["H"]
        loss.backward()
        clip(self.name, self.model.parameters())
        self.optimiser.step()
        self.memory = {
            pair: {side: [x.detach()] for side, x in result["pn_dic"][pair].items()}
            for pair in ("tv", "ta")
        }

    def share(self, path: str) -> None:
        """Take the saved weights; what has no counterpart must be of no effect."""
        result = self.model.load_state_dict(torch.load(path), strict=False)
        assert not result.unexpected_keys, result.unexpected_keys
        unused = ("output_range", "output_shift", "tlayer_norm.weight", "tlayer_norm.bias")
        missing = {key for key in result.missing_keys if not key.endswith("version")}
        assert missing <= set(unused), missing


class Features(nn.Module):
    """Stands for the package's BERT: gives back frozen features, as the suite has them."""

    def __init__(self, **_: object) -> None:
        super().__init__()
        self.features: Tensor | None = None

    def forward(self, tokens: Tensor) -> Tensor | None:
        return self.features


def clip(name: str, parameters: object, **how: bool) -> None:
    """Clip gradients as the method does, if it does."""
    if name in CLIP_VALUE:
        nn.utils.clip_grad_value_(parameters, CLIP_VALUE[name], **how)
    if name in CLIP_NORM:
        nn.utils.clip_grad_norm_(parameters, CLIP_NORM[name], **how)


def timed(side: Ours | Theirs, inputs: Inputs, request: dict) -> float:
    """The median rate, in samples per second, of the steps made in that time."""
    clock = {"wall": time.perf_counter, "cpu": time.process_time}[request["clock"]]
    training = request["do"] == "train"
    side.model.train(training)
    spent: list[float] = []
    while sum(spent[2:]) < request["seconds"] or len(spent) < 6:
        start = clock()
        if training:
            side.train(inputs)
        else:
            with torch.inference_mode():
                side.predict(inputs)
        spent.append(clock() - start)
    return len(inputs["label"]) / sorted(spent[2:])[len(spent[2:]) // 2]  # the first warm up


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
