"""Networks and optimisers as named tensors that safetensors can hold: no two share memory."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from shared.errors import Permanent


def named_weights(prefix: str, network: nn.Module) -> dict[str, Tensor]:
    """Copies of a network's weights on the CPU: `prefix.<dotted name>`."""
    return {f"{prefix}.{name}": _copy(weight) for name, weight in network.state_dict().items()}


def fill(prefix: str, network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put the tensors named `prefix.…` into a network. Raises Permanent where one does not fit."""
    try:
        network.load_state_dict(_below(prefix, tensors))
    except RuntimeError as error:
        message = f"the weights of the {prefix} do not fit its configuration: {error}"
        raise Permanent(message) from error


def named_moments(prefix: str, adam: torch.optim.Adam) -> dict[str, Tensor]:
    """Copies of an optimiser's state: `prefix.<number of the parameter>.<what Adam calls it>`."""
    return {
        f"{prefix}.{number}.{name}": _copy(value)
        for number, state in adam.state_dict()["state"].items()
        for name, value in state.items()
    }


def fill_moments(prefix: str, adam: torch.optim.Adam, tensors: Mapping[str, Tensor]) -> None:
    """Put the state named `prefix.…` into an optimiser of the same parameters."""
    parameters = adam.param_groups[0]["params"]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in _below(prefix, tensors).items():
        number, name = key.split(".")
        parameter = parameters[int(number)]
        if tensor.shape == parameter.shape:
            # The fused Adam walks through memory: moments have to lie as their parameter does.
            own = torch.empty_like(parameter, requires_grad=False).copy_(tensor)
        else:
            own = tensor.clone()
        state.setdefault(int(number), {})[name] = own
    adam.load_state_dict({"state": state, "param_groups": adam.state_dict()["param_groups"]})


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
