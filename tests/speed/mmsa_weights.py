"""The suite's settings and weights that are the MMSA package's, so that both predict alike."""

from __future__ import annotations

from torch import Tensor, nn

PRESETS = {"mult": "mmsa", "tfn": "official", "lmf": "official", "misa": "mmsa", "mmim": "mmsa"}
DEPARTURES = {"mmim": {"text_pool": "cls"}}  # the package has a [CLS] row
WIDTHS = {"text": 768, "audio": 74, "vision": 35}
_SHORT = {"text": "l", "audio": "a", "vision": "v"}
_NAMES = {"text": "text", "audio": "audio", "vision": "video"}


def weights_of(name: str, model: nn.Module) -> dict[str, Tensor]:
    """A model's weights, named as the package's model of that name has them."""
    named = {"mult": _mult, "tfn": _tfn, "lmf": _lmf, "misa": _misa, "mmim": _mmim}
    return {key: x.detach().contiguous().clone() for key, x in named[name](model).items()}


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


def _tfn(model: nn.Module) -> dict[str, Tensor]:
    names = _subnetworks(model)
    config = model.config
    sizes = (config.hidden_vision + 1, config.hidden_audio + 1, config.text_out + 1)
    product = model.post_in.weight.unflatten(1, sizes).transpose(1, 2).flatten(1)
    names |= {"post_fusion_layer_1.weight": product, "post_fusion_layer_1.bias": model.post_in.bias}
    names |= _layer("post_fusion_layer_2", model.post_inner)
    return names | _layer("post_fusion_layer_3", model.answer)


def _lmf(model: nn.Module) -> dict[str, Tensor]:
    factors = {f"{_NAMES[m]}_factor": model.factors[m] for m in WIDTHS}
    rest = {"fusion_weights": model.rank_weights, "fusion_bias": model.bias[None]}
    return {**_subnetworks(model), **factors, **rest}


def _misa(model: nn.Module) -> dict[str, Tensor]:
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


def _mmim(model: nn.Module) -> dict[str, Tensor]:
    names: dict[str, Tensor] = {}
    for m, encoder in (("audio", "acoustic_enc"), ("vision", "visual_enc")):
        for direction, end in zip(model.recurrent[m].directions, ("", "_reverse"), strict=False):
            for name, weight in direction.named_parameters():
                names[f"{encoder}.rnn.{name}{end}"] = weight
        names |= _layer(f"{encoder}.linear_1", model.state_out[m])
    for m in WIDTHS:
        names |= _layer(f"cpc_z{m[0]}.net", model.guess[m])
    for pair, bound in model.bounds.items():
        at = f"mi_t{pair.split('_')[1][0]}"
        names |= _layer(f"{at}.mlp_mu", bound.mean)
        names |= _layer(f"{at}.mlp_logvar", bound.log_variance)
        names |= _layer(f"{at}.entropy_prj.0", bound.entropy_projection)
    layers = (model.fusion_in, model.fusion_out, model.answer)
    for number, layer in enumerate(layers):
        names |= _layer(f"fusion_prj.linear_{number + 1}", layer)
    return names


def _mult(model: nn.Module) -> dict[str, Tensor]:
    names: dict[str, Tensor] = {}
    for m, short in _SHORT.items():
        names[f"proj_{short}.weight"] = model.project[m].weight.permute(2, 0, 1)
    for pairs, stack in zip(model.pairs, model.crossmodal, strict=True):
        for group, (target, source) in enumerate(pairs):
            prefix = f"trans_{_SHORT[target]}_with_{_SHORT[source]}"
            names |= _encoder(stack, group, prefix)
    for targets, stack in zip(model.targets, model.memory, strict=True):
        for group, target in enumerate(targets):
            names |= _encoder(stack, group, f"trans_{_SHORT[target]}_mem")
    heads = {"proj1": "head_in", "proj2": "head_out", "out_layer": "answer"}
    for theirs, ours in heads.items():
        names |= _layer(theirs, getattr(model, ours))
    return names


def _encoder(stack: nn.Module, group: int, prefix: str) -> dict[str, Tensor]:
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
