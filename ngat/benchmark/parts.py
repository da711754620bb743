"""The parts of a training step: where its time goes, by torch's profiler.

Modules are labelled from outside while they run, fused operations label their parts themselves. An
operation of the forward pass belongs to the innermost label around it, or is known by its name;
one of the backward pass belongs to the part whose forward operation made it (they share a sequence
number). Residuals, activations and what lies between operations, Python for the most part, are
``rest``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from ngat.benchmark.measure import wait
from ngat.model import NGAT, Maps, Norm
from ngat.plasticity import Plasticity
from ngat.system.precision import LABEL

PARTS: dict[type[nn.Module], str] = {
    Norm: "norm",
    Maps: "linear maps",
    Plasticity: "projection and plasticity",
}
# Fused engines' attention, operations that label their parts themselves, and matrix products.
ATTENTION = "Attention"
LABELLED = ("TypedUpdate", "JointUpdate", "NormedMaps")
PRODUCTS = ("aten::bmm", "aten::baddbmm", "aten::baddbmm_", "aten::mm", "aten::addmm")
NODE = "autograd::engine::evaluate_function"  # of the backward graph, as the profiler names it
Shares = dict[tuple[str, str], float]


@contextmanager
def labelled(model: NGAT) -> Iterator[None]:
    """While this is open, parts of the network announce themselves to the profiler."""
    open_labels: list[Any] = []

    def enter(module: nn.Module, _: object) -> None:
        label = record_function(LABEL + PARTS[type(module)])
        label.__enter__()
        open_labels.append(label)

    def leave(module: nn.Module, _: object, __: object) -> None:
        open_labels.pop().__exit__(None, None, None)

    with ExitStack() as hooks:
        for module in model.modules():
            if type(module) in PARTS:
                hooks.enter_context(module.register_forward_pre_hook(enter))
                hooks.enter_context(module.register_forward_hook(leave))
        yield


def split_by_part(step: Callable[[], object], model: NGAT, device: str) -> Shares:
    """Share of two steps' time by (part, ``forward``, ``backward`` or empty); they add up to 1.

    On a GPU the time is that of the device's kernels, and ``rest`` is what the device waits.
    """
    cuda = device.startswith("cuda")
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda
    with labelled(model):
        step()
        with profile(activities=activities) as found, record_function(LABEL + "all"):
            step()
            step()
            wait(device)
    return shares(list(found.events()), cuda)


def shares(events: list[Any], cuda: bool = False) -> Shares:
    """The same from the profiler's events."""
    made_by: dict[int, str] = {}
    for event in sorted(events, key=lambda event: event.time_range.start):
        if event.sequence_nr >= 0 and not _backward(event):
            # Operations that make no node of the graph carry the number of the next one.
            made_by[event.sequence_nr] = _label(event)
    spent: dict[tuple[str, str], float] = defaultdict(float)
    whole = 0.0
    for event in events:
        if event.name == LABEL + "all":
            whole = event.time_range.elapsed_us()
        if event.name.startswith(LABEL) and not _labels_itself(event):
            continue  # time between operations
        root = _backward(event)
        own = event.self_device_time_total if cuda else event.self_cpu_time_total
        if root is None:
            part, direction = _label(event), "forward"
        elif root.name.endswith(f" {ATTENTION}Backward"):
            part, direction = "attention", "backward"
        elif _labels_itself(event):
            part, direction = _label(event), "backward"
        else:
            part, direction = made_by.get(root.sequence_nr, "rest"), "backward"
        if part in ("rest", "optimiser"):
            direction = ""
        spent[part, direction] += own
    spent["rest", ""] += whole - sum(spent.values())
    return {key: value / whole for key, value in spent.items()}


def _label(event: Any) -> str:
    """The part that an operation of the forward pass belongs to."""
    known = "rest"
    for caller in _callers(event):
        if caller.name.startswith(LABEL) and caller.name != LABEL + "all":
            return str(caller.name.removeprefix(LABEL))
        if caller.name == ATTENTION:
            return "attention"
        if caller.name in PRODUCTS:
            known = PARTS[Maps]
    return known


def _labels_itself(event: Any) -> bool:
    """Whether an event is part of an operation that labels what it does."""
    names = (caller.name.rpartition(" ")[2] for caller in _callers(event))
    return any(name.removesuffix("Backward") in LABELLED for name in names)


def _backward(event: Any) -> Any:
    """The node of the backward graph that an event is or is called by; None in the forward pass."""
    nodes = [caller for caller in _callers(event) if caller.name.startswith(NODE)]
    return nodes[-1] if nodes else None


def _callers(event: Any) -> Iterator[Any]:
    """The event, what called it, and so on."""
    while event is not None:
        yield event
        event = event.cpu_parent
