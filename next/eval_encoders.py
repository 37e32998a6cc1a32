"""Measure the trained encoders on photos that nothing was trained on.

eval_encoders.py FOLDER [--final] [--limit N] [--only feature in-domain edits] [--out FOLDER]
FOLDER: feature.safetensors, in-domain*.safetensors, editor.safetensors as enc.py writes them.
Photos: the last 200 FFHQ training faces; --final: the 300 evaluation faces, looked at once.
Prints and writes a table; writes a sheet of 24 photos above what each encoder draws of them.
"""

import argparse
import io
import json
import os
import sys
import time
import zipfile
from pathlib import Path

ap = argparse.ArgumentParser()
ap.add_argument("folder", type=Path)
ap.add_argument("--final", action="store_true")
ap.add_argument("--limit", type=int)
ap.add_argument("--only", nargs="+", default=["feature", "in-domain", "edits"])
ap.add_argument("--out", type=Path)
ap.add_argument("--threads", type=int, default=2)
args = ap.parse_args()
MAIN, SHARED = Path("."), Path("SHARED")
sys.path[:0] = [
    str(Path(__file__).parent),
    os.environ.get("TREE", "OLD"),
    str(SHARED / "tools"),
]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

import identity  # noqa: E402
import judges  # noqa: E402
import metrics  # noqa: E402
import networks  # noqa: E402
import stylegan  # noqa: E402
from metrics.trunks import discriminator_features, squeezenet_features  # noqa: E402

torch.set_num_threads(args.threads)
SHEET, PART, STRENGTH, DIRECTIONS = 24, 20, 2.0, 6
DLIB = Path("/tmp/st/face_recognition_models/models") / identity.FILE


def photos() -> torch.Tensor:
    """(N, 3, 128, 128) in [-1, 1]."""
    path = SHARED / "faces" / ("ffhq-256-eval.zip" if args.final else "ffhq-128-train.zip")
    with zipfile.ZipFile(path) as z:
        names = sorted(n for n in z.namelist() if n.lower().endswith((".jpg", ".png")))
        names = (names if args.final else names[-200:])[: args.limit]
        found = [np.asarray(Image.open(io.BytesIO(z.read(n))).convert("RGB")) for n in names]
    x = torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return metrics.resize.resize(x, (128, 128)) if x.shape[-1] != 128 else x


def config_of(path: Path) -> dict:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["config"])


def codes_config(told: dict) -> networks.CodesConfig:
    return networks.CodesConfig(
        **{k: tuple(v) if isinstance(v, list) else v for k, v in told.items()}
    )


def loaded(network: torch.nn.Module, *paths: Path) -> torch.nn.Module:
    state = {k: v.float() for p in paths for k, v in load_file(p).items()}
    network.load_state_dict(state)
    return stylegan.freeze(network)


def load_feature() -> networks.FeatureEncoder:
    path = args.folder / "feature.safetensors"
    told = config_of(path)
    told |= {"codes": codes_config(told["codes"]), "counts": tuple(told["counts"])}
    return loaded(networks.FeatureEncoder(networks.FeatureConfig(**told)), path)


def load_domain() -> networks.InDomainEncoder:
    paths = [args.folder / f"in-domain{x}.safetensors" for x in ("", "-descent")]
    told = config_of(paths[0])
    descent = told["descent"] | {"weights": networks.DescentWeights(**told["descent"]["weights"])}
    config = networks.DescentConfig(**descent)
    return loaded(networks.InDomainEncoder(codes_config(told["codes"]), config), *paths)


def load_editor() -> networks.FeatureEditor:
    path = args.folder / "editor.safetensors"
    told = config_of(path)
    return loaded(
        networks.FeatureEditor(networks.EditorConfig(**told | {"counts": tuple(told["counts"])})),
        path,
    )


def to_bytes(x: torch.Tensor) -> np.ndarray:
    return (x * 127.5 + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


generator = stylegan.load(MAIN / "runs/faces/generator.safetensors").float()
discriminator = stylegan.load_discriminator(MAIN / "runs/faces/discriminator.safetensors").float()
squeeze = squeezenet_features(SHARED / "weights/squeezenet1_1_imagenet.safetensors")
eyes = discriminator_features(discriminator)
who = identity.load(DLIB)
judge = networks.Judge(generator.synthesize, discriminator, who.embed)
x = photos()
print(f"{len(x)} photos of {'the evaluation' if args.final else 'training, held out'}", flush=True)
persons = [judges.identity(image) for image in to_bytes(x)]
rows, pictures = {}, {"photo": x}


def cosines(drawn: torch.Tensor) -> np.ndarray:
    """Of the judge, of those where a face is found in both."""
    found = [judges.identity(image) for image in to_bytes(drawn)]
    return np.array(
        [np.nan if a is None or b is None else a @ b for a, b in zip(persons, found, strict=True)]
    )


@torch.no_grad()
def measure(name: str, redraw) -> None:
    begin = time.time()
    y = torch.cat([redraw(part) for part in x.split(PART)]).clamp(-1, 1)
    seconds = time.time() - begin
    pairs = list(zip(y.split(PART), x.split(PART), strict=True))
    far = torch.cat([who.distance(a, b) for a, b in pairs])
    judged = cosines(y)
    rows[name] = {
        "MSE": float((y - x).square().mean()),
        "SqueezeNet": float(torch.cat([squeeze(a, b) for a, b in pairs]).mean()),
        "discriminator": float(torch.cat([eyes(a, b) for a, b in pairs]).mean()),
        "judge's cosine": float(np.nanmean(judged)),
        "no face": int(np.isnan(judged).sum()),
        "distance": float(far.mean()),
        "same": float((far < identity.SAME).float().mean()),
        "ms a photo": 1000 * seconds / len(x),
    }
    pictures[name] = y
    print(f"{name:24}", "  ".join(f"{k} {v:.4f}" for k, v in rows[name].items()), flush=True)


def sheet(path: Path, chosen: dict[str, torch.Tensor]) -> None:
    """Twelve columns; photos above their reconstructions, twice."""
    strips = []
    for at in range(0, min(SHEET, len(x)), 12):
        for images in chosen.values():
            part = to_bytes(images[at : at + 12])
            part = np.concatenate([part, np.zeros((12 - len(part), *part.shape[1:]), np.uint8)])
            strips.append(np.concatenate(list(part), 1))
    Image.fromarray(np.concatenate(strips)).save(path)
    print(path)


@torch.no_grad()
def edits(feature, domain, editor) -> None:
    """How far PCA edits at +-2 of 16 photos go, of the way that the in-domain code goes."""
    rng = torch.Generator().manual_seed(0)
    w = generator.mapping(torch.randn(20_000, generator.z_dim, generator=rng))
    values, vectors = torch.linalg.eigh((w - w.mean(0)).T.cov().double())
    directions = (vectors * values.clamp_min(0).sqrt()).flip(1).T[:DIRECTIONS].float()
    part, layer = x[:16], feature.config.layer
    photo = [p for p in persons[:16]]
    code, found = domain.find(part, judge), feature.find(part, generator)
    base = generator.synthesize(code)
    own = generator.synthesize(found.code, start=found.feature)
    before = generator.synthesize(code, stop=layer)
    results: dict[str, list] = {}
    strips = [
        to_bytes(part[:12]),
        to_bytes(base[:12].clamp(-1, 1)),
        to_bytes(own[:12].clamp(-1, 1)),
    ]

    def flat(image):
        return torch.cat([f.flatten(1) for f in eyes.features(image)], 1)

    for number, direction in enumerate(directions):
        for sign in (-STRENGTH, STRENGTH):
            e = (sign * direction).expand_as(code)
            goal = generator.synthesize(code + e)
            wanted = flat(goal) - flat(base)
            after = generator.synthesize(code + e, stop=layer)
            delta, rgb = after.x - before.x, found.feature.rgb + after.rgb - before.rgb
            features = {"kept": found.feature.x, "added": found.feature.x + delta}
            if editor is not None:
                features["editor"] = editor(found.feature.x, delta)
            drawn = {"in-domain": (goal, base)}
            for name, value in features.items():
                start = found.feature._replace(x=value, rgb=rgb)
                drawn[name] = (generator.synthesize(found.code + e, start=start), own)
            for name, (image, unedited) in drawn.items():
                share = ((flat(image) - flat(unedited)) * wanted).sum(1) / wanted.square().sum(1)
                judged = [judges.identity(i) for i in to_bytes(image.clamp(-1, 1))]
                cosine = [
                    a @ b
                    for a, b in zip(photo, judged, strict=True)
                    if a is not None and b is not None
                ]
                results.setdefault(name, []).append((float(share.mean()), float(np.mean(cosine))))
                if number < 3:
                    strips.append(to_bytes(image[:12].clamp(-1, 1)))
    for name, pairs in results.items():
        far, cosine = np.mean(pairs, 0)
        rows[f"edits, {name}"] = {"goes": far, "judge's cosine": cosine}
        print(
            f"edits {name:10} go {far:.3f} as far, judge's cosine to the photo {cosine:.3f}",
            flush=True,
        )
    path = out / "edits.png"
    Image.fromarray(np.concatenate([np.concatenate(list(s), 1) for s in strips])).save(path)
    print(path)


out = args.out or args.folder
out.mkdir(parents=True, exist_ok=True)
has = lambda name: (args.folder / f"{name}.safetensors").is_file()  # noqa: E731
feature = load_feature() if has("feature") else None
domain = load_domain() if has("in-domain") else None
if feature is not None and "feature" in args.only:

    def redraw(part):
        found = feature.find(part, generator)
        return generator.synthesize(found.code, start=found.feature)

    measure("feature", redraw)
    measure("feature, codes alone", lambda part: generator.synthesize(feature.codes(part)))
if domain is not None and "in-domain" in args.only:
    measure("in-domain", lambda part: generator.synthesize(domain.find(part, judge)))
    measure("in-domain, first look", lambda part: generator.synthesize(domain.codes(part)))
name = "eval" if args.final else "held-out"
for key in ("feature", "in-domain"):
    if key in pictures:
        sheet(out / f"{name}-{key}.png", {k: pictures[k] for k in ("photo", key)})
if feature is not None and domain is not None and "edits" in args.only:
    edits(feature, domain, load_editor() if has("editor") else None)
(out / f"{name}.json").write_text(json.dumps(rows, indent=1))
