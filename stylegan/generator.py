"""`Generator`: the frozen network that synthesizes images, from a file of any format.

Legend: N images, L style inputs (num_ws), C channels, HxW pixels, R side of the image, r side of a
noise map.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from .mapping import Mapping
from .statistics_file import Statistics
from .stylegan1 import StyleGAN1
from .stylegan2 import StyleGAN2
from .stylegan3 import StyleGAN3
from .synthesis import Feature, Noise, Synthesis

SYNTHESES: dict[str, type[Synthesis]] = {
    "stylegan1": StyleGAN1,
    "stylegan2": StyleGAN2,
    "stylegan3": StyleGAN3,
}
"""The synthesis network of each architecture that a configuration can name."""


class Generator(nn.Module):
    """Mapping and synthesis of one StyleGAN, frozen.

    `config` comes from its file; all sizes below come from it and from the tensors.
    """

    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        architecture = config["architecture"]
        if architecture not in SYNTHESES:
            raise ValueError(
                f'the file holds a generator of the architecture "{architecture}"; '
                f"expected one of {', '.join(SYNTHESES)}"
            )
        synthesis = SYNTHESES[architecture]
        self.mapping = Mapping(
            config["z_dim"],
            config["c_dim"],
            config["w_dim"],
            config["mapping_layers"],
            per_layer=synthesis.ws_of_mapping(config),
        )
        self.synthesis = synthesis.from_config(config)
        self.path: Path | None = None
        """The file of the network."""
        self.statistics: Statistics | None = None
        """Statistics of its latents, once they are known: see `statistics.latent_statistics`."""
        self.statistics_cache: tuple[Path, ...] = ()
        """Files, or folders for files, that cache the statistics. The checkpoint registry sets it;
        if it is empty, nothing is read or written."""
        self.predecessors: dict[str, str] = {}
        """Fingerprints of networks that this one has replaced, and for each the command that
        fetches it. The checkpoint registry sets it."""
        self._fingerprint: str | None = None

    @property
    def resolution(self) -> int:
        """Side of the image in pixels."""
        return self.config["img_resolution"]

    @property
    def img_channels(self) -> int:
        """Channels of the image: 3 for RGB, 1 for grey."""
        return self.config["img_channels"]

    @property
    def z_dim(self) -> int:
        """Numbers in a code of Z."""
        return self.config["z_dim"]

    @property
    def w_dim(self) -> int:
        """Numbers in a code of W."""
        return self.config["w_dim"]

    @property
    def c_dim(self) -> int:
        """Length of a label; 0 if the generator takes none."""
        return self.config["c_dim"]

    @property
    def num_ws(self) -> int:
        """Style inputs L."""
        return self.synthesis.num_ws

    @property
    def feature_layers(self) -> tuple[str, ...]:
        """Names of the layers at which synthesis can stop and start, from coarse to fine."""
        return tuple(layer.name for layer in self.synthesis.layers if layer.feature)

    @property
    def noise_strengths(self) -> tuple[float, ...]:
        """|strength| that multiplies each noise map, in their order.

        StyleGAN1 has a strength per channel: this is their root mean square.
        """
        strengths = (x.noise_strength for x in self.synthesis.noise_inputs)
        return tuple(float(x.square().mean().sqrt()) for x in strengths)

    @property
    def style_sizes(self) -> tuple[int, ...]:
        """Length of the style of every layer, toRGB included, in running order; 0 without one."""
        affines = [layer.affine for layer in self.synthesis.layers]
        return tuple(0 if affine is None else len(affine.weight) for affine in affines)

    @property
    def device(self) -> torch.device:
        """Of all tensors."""
        return self.mapping.w_avg.device

    @property
    def dtype(self) -> torch.dtype:
        """Of all tensors."""
        return self.mapping.w_avg.dtype

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of a hash of the weights. It does not depend on the file format."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self.state_dict())
        return self._fingerprint

    def noise_maps(self, n: int) -> tuple[Tensor, ...]:
        """The constant noise, one copy of every map per image: (n, 1, r, r) each."""
        modules = self.synthesis.noise_inputs
        return tuple(x.noise_const.expand(n, 1, -1, -1).clone() for x in modules)

    def first_ws_index(self, layer: str) -> int:
        """Index of the first style input that acts after `layer` (M of the papers)."""
        style = self.synthesis.layers[self._position(layer) + 1].style
        assert style is not None  # only a first layer has no style
        return style

    def default_feature_layer(self) -> str:
        """16x16 as in BDInvert, but at most an eighth of the image's side.

        A feature of a quarter of the side would hold more numbers than the image.
        """
        resolution = max(4, min(16, self.resolution // 8))
        layers = (layer for layer in self.synthesis.layers if layer.feature)
        return next(layer.name for layer in layers if layer.resolution >= resolution)

    def _position(self, layer: str) -> int:
        if layer not in self.feature_layers:
            raise ValueError(
                f'this generator has no layer "{layer}"; '
                f"choose one of {', '.join(self.feature_layers)}"
            )
        return [entry.name for entry in self.synthesis.layers].index(layer)

    def map(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """z: (N, z_dim) or one per input (N, L, z_dim); c: (N, c_dim) -> ws (N, L, w_dim).

        With one z per input, input i of ws is that of z_i alone. Truncation: see `truncate`.
        """
        if z.shape[-1] != self.z_dim or z.ndim not in (2, 3):
            raise ValueError(
                f"z has the shape {tuple(z.shape)}; expected (N, {self.z_dim}) or "
                f"(N, {self.num_ws}, {self.z_dim})"
            )
        if z.ndim == 3:
            n, inputs, _ = z.shape
            c = None if c is None else c.repeat_interleave(inputs, 0)
            ws = self.mapping(z.flatten(0, 1), c).unflatten(0, (n, inputs))
            if ws.ndim == 4:
                # (N, z_i, input, w_dim): input i of each z_i.
                ws = ws.diagonal(dim1=1, dim2=2).transpose(1, 2)
        else:
            ws = self.broadcast_ws(self.mapping(z, c))
        return self.truncate(ws, truncation_psi, truncation_cutoff)

    def broadcast_ws(self, w: Tensor) -> Tensor:
        """One w for all style inputs (N, w_dim), or one for each (N, L, w_dim) -> (N, L, w_dim)."""
        return w if w.ndim == 3 else w[:, None].expand(-1, self.num_ws, -1)

    def truncate(
        self, ws: Tensor, truncation_psi: float, truncation_cutoff: int | None = None
    ) -> Tensor:
        """ws: (N, L, w_dim) -> ws with its first inputs replaced by w_avg + psi (w - w_avg).

        truncation_cutoff: how many inputs are truncated; None: all.
        "A Style-Based Generator Architecture for Generative Adversarial Networks", appendix B.
        """
        if truncation_psi == 1 or truncation_cutoff == 0:
            return ws
        average = self.broadcast_ws(self.mapping.w_avg[None])[:, :truncation_cutoff]
        truncated = torch.lerp(average, ws[:, :truncation_cutoff], truncation_psi)
        if truncation_cutoff is None:
            return truncated
        return torch.cat([truncated, ws[:, truncation_cutoff:]], 1)

    def styles(self, ws: Tensor) -> tuple[Tensor, ...]:
        """ws: (N, L, w_dim) -> the affine outputs (N, C_l) of every modulated layer (S space)."""
        return self.synthesis.styles(ws)

    def synthesize(
        self,
        code: Tensor | Sequence[Tensor],
        noise: Noise = "const",
        *,
        start: Feature | None = None,
        stop: str | None = None,
        rgb_skip: str = "keep",
        placement: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor | Feature:
        """Image (N, img_channels, R, R), about [-1, 1]; or with `stop` the Feature of that layer.

        Args:
            code: ws (N, L, w_dim), or styles as `styles` returns them.
            noise: "const", "random", "none", or a list of maps (1 or N, 1, r, r).
            start: a Feature to continue from; the layers up to it are not computed.
            stop: name of the layer whose Feature is returned.
            rgb_skip: "keep" continues from the Feature's image so far, so that stopping and
                starting again gives exactly the whole image; "zero" drops it, as BDInvert does.
            placement: transform of a StyleGAN3's input, (3, 3) or (N, 3, 3), as `make_placement`
                returns it; None: the one in the network's file.
            generator: source of the random noise.

        Raises ValueError for other shapes, unknown layers, and a placement that is not supported.
        """
        if isinstance(code, Tensor):
            if code.shape[1:] != (self.num_ws, self.w_dim):
                raise ValueError(
                    f"ws has the shape {tuple(code.shape)}; "
                    f"expected (N, {self.num_ws}, {self.w_dim})"
                )
            code = self.styles(code)
        if stop is not None:
            self._position(stop)
        if start is not None:
            self._position(start.layer)
            if rgb_skip not in ("keep", "zero"):
                raise ValueError(f'rgb_skip is "{rgb_skip}"; it must be "keep" or "zero"')
            if stop is not None and self._position(stop) <= self._position(start.layer):
                raise ValueError(f'"{stop}" is not after "{start.layer}"; stop at a later layer')
            if rgb_skip == "zero":
                start = start._replace(rgb=None)
        if placement is not None and not self.synthesis.takes_placement:
            architecture = self.config["architecture"]
            raise ValueError(
                f'got a placement for a generator of the architecture "{architecture}"; only '
                "StyleGAN3 takes one: leave it out"
            )
        return self.synthesis(
            code, noise, start=start, stop=stop, placement=placement, generator=generator
        )


def fingerprint(tensors: dict[str, Tensor]) -> str:
    """Hash of names, shapes and float32 values; not of resampling filters and input transforms."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        if name.endswith(("resample_filter", "input.transform")):
            continue
        tensor = tensors[name].detach().float().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]
