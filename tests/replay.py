"""A stand-in for a CUDA graph: records operations on a CPU, and runs them again.

As a CUDA graph, it runs nothing while it captures, reads no number of the host afterwards, writes
into the tensors that it was captured with, and refuses what would wait for the device or copy to
it: `float(x)`, `x.nonzero()`, `torch.tensor(...)`.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

REFUSED = {
    "aten::_local_scalar_dense": "reads a number",
    "aten::nonzero": "has a result of unknown size",
    "aten::masked_select": "has a result of unknown size",
    "aten::lift_fresh": "copies numbers of the host",
}


class Recorder(TorchDispatchMode):
    @classmethod
    def _should_skip_dynamo(cls):
        return False  # so that it is not imported, which takes seconds

    def __init__(self):
        super().__init__()
        self.calls = []
        self.made = set()
        self.before = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        reason = REFUSED.get(function._schema.name)
        if reason is not None:
            raise RuntimeError(f"{function._schema.name} {reason}, which cannot be captured")
        for argument, value in zip(function._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self._save(value)
        given = tensors((args, kwargs))
        result = function(*args, **kwargs)
        self.made |= {storage(x) for x in tensors(result)} - {storage(x) for x in given}
        self.calls.append((function, args, kwargs, result))
        return result

    def _save(self, value):
        for x in tensors(value):
            if storage(x) not in self.made and storage(x) not in self.before:
                self.before[storage(x)] = (x.detach(), x.detach().clone())


class Replay:
    """A `refine.captured_step.Graph`."""

    captures = 0

    def capture(self, body):
        recorder = Recorder()
        try:
            with recorder:
                outputs = body()
        finally:
            with torch.no_grad():
                for x, before in recorder.before.values():
                    x.copy_(before)
        self.calls = recorder.calls
        Replay.captures += 1
        for x in outputs.values():
            x.fill_(torch.nan)
        return outputs

    @torch.no_grad()
    def replay(self):
        for function, args, kwargs, result in self.calls:
            again = function(*args, **kwargs)
            for old, new in zip(tensors(result), tensors(again), strict=True):
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def tensors(value):
    return [x for x in tree_flatten(value)[0] if isinstance(x, torch.Tensor)]


def storage(x):
    return x.untyped_storage().data_ptr()
