"""How a step runs: function by function, or, on a GPU, captured once and replayed.

A GPU that gets one small operation after the other waits for Python. A captured step is one call.
It may read and write only tensors that stay where they are, and no number of the host: what changes
from call to call is copied into the tensors that it was captured with.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

WARM_UP = 3
"""Steps before the capture: libraries allocate and choose their algorithms in them."""
WORTH = 20
"""Steps that must be left for a capture, which takes about as long as so many."""

Body = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""(inputs) -> outputs; its other results are in tensors that it changes in place."""


class Graph(Protocol):
    """Operations on tensors that were captured, without being run."""

    def capture(self, body: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """The tensors into which `replay` writes the outputs; RuntimeError if it cannot be."""
        ...

    def replay(self) -> None: ...


GraphMaker = Callable[[], Graph]


class CudaGraph:
    """A CUDA graph on a device, which need not be the current one."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.graph: Any = torch.cuda.CUDAGraph()

    def capture(self, body: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        # PyTorch's own stream for captures is of whichever device was the first. Other threads,
        # which read and write photos, may use the device meanwhile.
        stream = torch.cuda.Stream(self.device)
        mode = "thread_local"
        with (
            torch.cuda.device(self.device),
            torch.cuda.graph(self.graph, stream=stream, capture_error_mode=mode),
        ):
            return body()

    def replay(self) -> None:
        with torch.cuda.device(self.device):
            self.graph.replay()


def graphs_of(device: torch.device) -> GraphMaker | None:
    """What captures steps on a device; None where they run as they are."""
    return partial(CudaGraph, device) if device.type == "cuda" else None


@dataclass
class StepRunner:
    """Runs steps of one body, captured where that can be done and pays."""

    body: Body
    graphs: GraphMaker | None
    """None: never captured."""
    calls: int = 0
    _graph: Graph | None = None
    _inputs: dict[str, Tensor] = field(default_factory=dict)
    _outputs: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, inputs: Mapping[str, Tensor], left: int) -> dict[str, Tensor]:
        """One step; left: how many there will be, with this one. The outputs are the caller's."""
        self.calls += 1
        if self._graph is None and self._pays(left):
            self._capture(inputs)
        if self._graph is None:
            return self.body(inputs)
        for name, x in inputs.items():
            self._inputs[name].copy_(x)
        self._graph.replay()
        return {name: x.clone() for name, x in self._outputs.items()}

    @property
    def captured(self) -> bool:
        return self._graph is not None

    def _pays(self, left: int) -> bool:
        return self.graphs is not None and self.calls > WARM_UP and left >= WORTH

    def _capture(self, inputs: Mapping[str, Tensor]) -> None:
        assert self.graphs is not None
        self._inputs = {name: x.clone() for name, x in inputs.items()}
        try:
            graph = self.graphs()
            self._outputs = graph.capture(lambda: self.body(self._inputs))
            self._graph = graph
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            self.graphs, self._inputs = None, {}
            logging.getLogger("facsimile").warning(
                "a refinement step cannot be captured on this device, so its operations run one "
                "by one, which takes longer: %s",
                str(error).partition("\n")[0],
            )
