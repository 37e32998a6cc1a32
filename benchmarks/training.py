"""Images a second in generator training, against the same networks with grouped convolutions."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import grouped_conv, report
from benchmarks.networks import random_discriminator, random_generator
from benchmarks.timing import alternate


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time one training step of both networks, in turns."""

    resolutions: tuple[int, ...] = (64, 128)
    batch: int = 16
    channel_base: int = 4096
    """4096 and 128 are the bundled generator's; the paper's are 16384 and 512."""
    channel_max: int = 128
    pairs: int = 7
    """Pairs of turns per row."""
    seconds: float = 90.0
    """No further pair of turns after so long, once there are 5."""
    peak: float = 0.0
    """Peak of the device in bfloat16, in 10^12 operations a second; 0: unknown."""
    device: str = "cpu"
    threads: int | None = None
    """CPU threads; None: PyTorch's choice."""
    out: Path | None = None
    """JSON file with every time."""


class Trained:
    """A generator and a critic with their optimisers, and one step of both."""

    def __init__(self, resolution: int, options: Options, *, ours: bool, half: bool):
        """ours: as `stylegan` writes them, else as `grouped_conv` does. half: bfloat16."""
        sizes = (resolution, options.channel_base, options.channel_max)
        layout = torch.channels_last if ours and options.device != "cpu" else torch.preserve_format
        self.generator = random_generator(*sizes).to(options.device, memory_format=layout)
        self.critic = random_discriminator(*sizes).to(options.device, memory_format=layout)
        self.ours, self.device = ours, torch.device(options.device).type
        self.autocast = partial(torch.autocast, self.device, torch.bfloat16, enabled=half)
        self.optimizers = []
        for network in (self.critic, self.generator):
            weights = list(network.requires_grad_(True).parameters())
            self.optimizers.append(torch.optim.Adam(weights, 1e-3, (0.0, 0.99), fused=ours))

    def synthesize(self, z: Tensor) -> Tensor:
        ws = self.generator.map(z)
        return (
            self.generator.synthesize(ws)
            if self.ours
            else grouped_conv.synthesize(self.generator, ws)
        )

    def discriminate(self, image: Tensor) -> Tensor:
        return self.critic(image) if self.ours else grouped_conv.discriminate(self.critic, image)

    def step(self, z: Tensor, real: Tensor) -> None:
        """z: (N, z_dim); real: (N, 3, R, R)."""
        critic, generator = self.optimizers
        with self.autocast():
            fake = self.synthesize(z)
            on_fake, on_real = self.discriminate(fake.detach()), self.discriminate(real)
        self._move(critic, (F.softplus(on_fake) + F.softplus(-on_real)).mean())
        with self.autocast():
            logits = self.discriminate(fake)
        self._move(generator, F.softplus(-logits).mean())

    @staticmethod
    def _move(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward(inputs=optimizer.param_groups[0]["params"])
        optimizer.step()


def main(options: Options) -> None:
    report.prepare(options.device, options.threads)
    if options.device != "cpu":
        torch.backends.cudnn.benchmark = True
    results = {"machine": report.machine(options.device), "rows": []}
    print(", ".join(f"{k} {v}" for k, v in results["machine"].items()), flush=True)
    for resolution in options.resolutions:
        source = torch.Generator().manual_seed(resolution)
        real = torch.randn(options.batch, 3, resolution, resolution, generator=source).to(
            options.device
        )
        theirs = Trained(resolution, options, ours=False, half=False)
        z = torch.randn(options.batch, theirs.generator.z_dim, generator=source).to(real)
        for half in (True, False):
            ours = Trained(resolution, options, ours=True, half=half)
            times = alternate(
                partial(theirs.step, z, real),
                partial(ours.step, z, real),
                device=options.device,
                pairs=options.pairs,
                seconds=options.seconds,
            )
            row = times.summary() | {"times": asdict(times), "operations": _count(ours, z, real)}
            row["what"] = (
                f"{resolution} px, batch {options.batch}, ours in {'bf16' if half else 'fp32'}"
            )
            results["rows"].append(row)
    print(_table(results["rows"], options))
    if options.out is not None:
        report.write_json(options.out, results)


def _count(trained: Trained, z: Tensor, real: Tensor) -> int:
    """Operations of one step: those of matrix products and convolutions."""
    with FlopCounterMode(display=False) as counter:
        trained.step(z, real)
    return counter.get_total_flops()


def _table(rows: list[dict], options: Options) -> str:
    head = [
        "",
        "grouped convolutions, images/s",
        "ours, images/s",
        "ratio",
        "min-max",
        "10^12 operations/s",
    ]
    lines = []
    for row in rows:
        speed = row["operations"] / row["second"] / 1e12
        share = f" ({100 * speed / options.peak:.0f} %)" if options.peak else ""
        lines.append(
            (
                row["what"],
                f"{options.batch / row['first']:.1f}",
                f"{options.batch / row['second']:.1f}",
                f"{row['ratio']:.2f}",
                f"{row['ratio_min']:.2f}-{row['ratio_max']:.2f}",
                f"{speed:.3f}{share}",
            )
        )
    return report.table(head, lines)


if __name__ == "__main__":
    main(tyro.cli(Options))
