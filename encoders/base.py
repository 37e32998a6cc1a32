"""The base encoder: from a photo to the feature map of one layer of a generator.

Legend: N images, C channels, HxW pixels of the feature, R side of the image, G images of a group.
"GAN Inversion for Out-of-Range Images with Geometric Transformations", section 3.2; "Revisiting
Latent Space of GAN Inversion for Real Image Editing", equation 2.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import stylegan
from metrics.resize import resize
from stylegan import Feature, Generator, Latents, files, spaces
from stylegan.layers import SLOPE, image_layout

FORMAT = "facsimile encoder"
FILE = "encoder.safetensors"
HALVINGS = 3
"""The photo has 2^3 = 8 times the feature's side, where the image itself has so much."""


@dataclass(frozen=True, kw_only=True)
class BaseConfig:
    fingerprint: str
    """Of the generator that the encoder belongs to."""
    layer: str
    """Whose output the feature is."""
    img_channels: int
    channels: int
    """Of the feature."""
    side: int
    """Of the feature without any margin."""
    margin: int
    """Pixels of the feature around that; StyleGAN3 has some."""
    halvings: int
    """Of the photo until it has the feature's side."""
    width: int
    """Channels of the first stage of three."""
    rgb_skip: str
    """ "zero" or "keep"."""

    @staticmethod
    def of(generator: Generator, layer: str | None, width: int, rgb_skip: str) -> "BaseConfig":
        """For a layer of the generator (None: its default); ValueError where it has none such."""
        layer = layer or generator.default_feature_layer()
        generator.first_input(layer)  # raises
        side = next(x.side for x in generator.synthesis.layers if x.name == layer)
        shape = _mean_feature(generator, layer).x.shape
        return BaseConfig(
            fingerprint=generator.fingerprint,
            layer=layer,
            img_channels=generator.img_channels,
            channels=shape[1],
            side=side,
            margin=(shape[2] - side) // 2,
            halvings=max(0, min(HALVINGS, (generator.resolution // side).bit_length() - 1)),
            width=width,
            rgb_skip=rgb_skip,
        )


@torch.no_grad()
def _mean_feature(generator: Generator, layer: str) -> Feature:
    """What the mean code holds at the layer, for one image."""
    return generator.synthesize(spaces.SPACES["w+"].start(generator, 1, "mean"), stop=layer)


class GroupNorm(nn.Module):
    """Batch normalisation over groups of G images, so that it does not matter where they are.

    Training: the images of a group lie as `training.draws.together` lays them out, and the running
    statistics move in `settle`, once per step, by those of all groups. In use: by these.
    """

    def __init__(self, channels: int, group: int):
        super().__init__()
        self.group = group
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.drawn: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(x, self.mean, self.variance, self.weight, self.bias)
        n, channels, height, width = x.shape
        groups = n // self.group
        mean, variance = self.mean.repeat(groups), self.variance.repeat(groups)
        weight, bias = self.weight.repeat(groups), self.bias.repeat(groups)
        x = x.reshape(self.group, groups * channels, height, width)
        # A momentum of 1 puts this batch's own statistics into mean and variance.
        x = F.batch_norm(x, mean, variance, weight, bias, training=True, momentum=1.0)
        self.drawn.append(torch.stack([mean, variance]).view(2, groups, channels).mean(1))
        return x.reshape(n, channels, height, width)


class BaseEncoder(nn.Module):
    """Images (N, img_channels, R, R) in [-1, 1] -> feature (N, C, H, W)."""

    def __init__(self, config: BaseConfig, group: int = 1):
        """group: images per batch normalisation in training."""
        super().__init__()
        self.config = config
        blocks: list[nn.Module] = []
        inputs, width = config.img_channels, config.width
        for _ in range(config.halvings):
            for _ in range(3):
                blocks += _block(inputs, width, group)
                inputs = width
            blocks.append(nn.AvgPool2d(2))
            width = min(2 * width, 4 * config.width)
        if config.margin:
            blocks.append(nn.ReplicationPad2d(config.margin))
        blocks += _block(inputs, 4 * config.width, group)
        self.body = nn.Sequential(*blocks)
        self.head = nn.Conv2d(4 * config.width, config.channels, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, SLOPE, mode="fan_out")
        nn.init.zeros_(self.head.bias)
        # Features of different layers differ in size by orders of magnitude.
        self.register_buffer("mean", torch.zeros(config.channels))
        self.register_buffer("scale", torch.ones([]))
        self.register_buffer("rgb", None)

    @torch.no_grad()
    def fit(self, generator: Generator, ws: Tensor) -> None:
        """Begin at the size of the features that ws (N, L, w_dim) give; hold the mean's image."""
        x = generator.synthesize(ws, stop=self.config.layer).x
        self.mean.copy_(x.mean((0, 2, 3)))
        self.scale.copy_((x - self.mean[:, None, None]).std())
        if self.config.rgb_skip == "keep":
            self.rgb = _mean_feature(generator, self.config.layer).rgb

    def forward(self, images: Tensor) -> Tensor:
        """Images of any square size; ValueError where they are no such images."""
        config = self.config
        if images.ndim != 4 or images.shape[1] != config.img_channels:
            raise ValueError(
                f"got images of the shape {tuple(images.shape)}; this encoder takes "
                f"(N, {config.img_channels}, R, R) in [-1, 1]"
            )
        if images.shape[2] != images.shape[3]:
            raise ValueError(
                f"got images of {images.shape[3]}x{images.shape[2]} pixels; "
                "this encoder takes squares: crop them first"
            )
        side = config.side << config.halvings
        x = self.head(self.body(image_layout(resize(images, (side, side)))))
        return torch.addcmul(self.mean[:, None, None], x.to(self.mean.dtype), self.scale)

    def feature(self, images: Tensor) -> Feature:
        """What synthesis starts from: the feature, and with "keep" the mean code's image so far.

        That is what `stylegan.start` holds too: the image of a photo's own code is not known.
        """
        rgb = None if self.rgb is None else self.rgb.expand(len(images), -1, -1, -1)
        return Feature(self.config.layer, self(images), rgb)

    def norms(self) -> list[GroupNorm]:
        return [module for module in self.modules() if isinstance(module, GroupNorm)]


def _block(inputs: int, outputs: int, group: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return [conv, GroupNorm(outputs, group), nn.LeakyReLU(SLOPE)]


def latents(
    encoder: BaseEncoder,
    generator: Generator,
    images: Tensor,
    space: str = "f/z+",
    *,
    how: str | None = None,
    seed: int = 0,
    label: Tensor | None = None,
    truncation: float = 1.0,
    cutoff: int | None = None,
) -> Latents:
    """Latents of images (N, img_channels, R, R): their features, and the code of the space's start.

    space: f/ and an inner space. The rest is as in `stylegan.start`.
    """
    inner, has_feature = spaces.parse(space)
    if not has_feature:
        raise ValueError(f'a base encoder gives a feature, and "{space}" has none; take f/{space}')
    check(encoder, generator)
    found = encoder.feature(images)
    return Latents(
        space=space,
        code=inner.start(generator, len(images), how or inner.default_start, seed, label),
        fingerprint=generator.fingerprint,
        layer=found.layer,
        feature=found.x,
        rgb=None if found.rgb is None else found.rgb.clone(),
        label=label,
        truncation=truncation,
        cutoff=cutoff,
    )


def check(encoder: BaseEncoder, generator: Generator) -> None:
    """ValueError unless the encoder was trained for this generator."""
    if encoder.config.fingerprint != generator.fingerprint:
        raise ValueError(
            f"this encoder was trained for the generator {encoder.config.fingerprint}, and this "
            f"one is {generator.fingerprint}; load that one, or train an encoder for this one"
        )


def save(encoder: BaseEncoder, path: str | Path) -> None:
    """Write an encoder with its configuration as one .safetensors file; raises OSError."""
    metadata = {"format": FORMAT, "kind": "base", "config": json.dumps(asdict(encoder.config))}
    files.write_tensors(path, encoder.state_dict(), metadata)


def load(path: str | Path, generator: Generator) -> BaseEncoder:
    """The frozen encoder in a file, or in a run's folder, on the generator's device.

    Raises FileNotFoundError, or ValueError for another generator's encoder or what is no encoder.
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; expected an encoder's file, or a folder with {FILE}"
        )
    metadata, tensors = files.read_tensors(path)
    if metadata.get("format") != FORMAT or metadata.get("kind") != "base":
        raise ValueError(
            f"{path} is no base encoder; expected a file that train.py base has written"
        )
    try:
        encoder = BaseEncoder(BaseConfig(**json.loads(metadata["config"])))
        if "rgb" in tensors:
            encoder.rgb = torch.empty_like(tensors["rgb"])
        check(encoder, generator)
        encoder.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"{path} is damaged ({str(error).splitlines()[0]}); copy it again"
        ) from error
    return stylegan.freeze(encoder).to(generator.device, generator.dtype)
