"""Train the encoders : whole steps captured as CUDA graphs, everything on the device.

enc.py OUT --seconds A B C [--tiny] [--from DIR]     DATA=/tmp/data: zips of aligned 128 px JPEGs.
A: feature encoder, B: in-domain encoder, C: feature editor. A stage of 0 s is skipped; its network
is then read from --from DIR (or OUT). A stage's seconds include its warm-up and capture.
"""
import argparse, copy, io, json, math, os, sys, time, types, zipfile
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

T0 = time.time()
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), os.environ.get("TREE", str(HERE / "old"))]
import identity  # noqa: E402
import networks  # noqa: E402
import stylegan  # noqa: E402
import stylegan.discriminator as D  # noqa: E402
from metrics.perceptual import unit  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

ap = argparse.ArgumentParser()
ap.add_argument("out", type=Path)
ap.add_argument("--seconds", type=float, nargs=3, default=(150, 180, 65))
ap.add_argument("--tiny", action="store_true")
ap.add_argument("--from", dest="start", type=Path)
ap.add_argument("--batch", type=int, nargs=3, default=(48, 24, 48))
ap.add_argument("--lr", type=float, nargs=3, default=(1.2e-3, 1e-3, 1e-3))
ap.add_argument("--muon", type=float, nargs=3, default=(4e-3, 3e-3, 3e-3), help="its learning rates; 0: Adam alone")
ap.add_argument("--passes", type=int, default=8)
ap.add_argument("--perceptual", type=float, default=1.0)
ap.add_argument("--identity", type=float, nargs=2, default=(0.1, 0.03), help="codes' and final picture's")
ap.add_argument("--late", type=float, default=0.25, help="share of A after which the final picture's identity comes in")
ap.add_argument("--limit", type=int, help="most photos (tests)")
ap.add_argument("--steps", type=int, help="most steps a stage (tests)")
ap.add_argument("--eval", type=int, default=200)
ap.add_argument("--rise", type=int, default=150, help="steps of warm-up")
ap.add_argument("--eager", action="store_true")
args = ap.parse_args()
if args.tiny:
    args.batch, args.eval, args.passes = (10, 8, 10), 16, 2
    args.limit = args.limit or 60
    args.steps = args.steps or 4
dev = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CUDA = dev.type == "cuda"
torch.backends.cudnn.benchmark = True
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
torch.manual_seed(20)
args.out.mkdir(parents=True, exist_ok=True)
PHOTOS, HELD = 3 / 5, range(4800, 5000)  # FFHQ's ids; CelebA's are higher
LAYER, COMPONENTS = "b32.conv0", 40
HALF_LIFE = 8000
say = lambda *a: print(f"[{time.time() - T0:6.1f}]", *a, flush=True)
ac = lambda: torch.autocast(dev.type, torch.bfloat16)
cl = dict(memory_format=torch.channels_last)

# Fast forms of slow operations -------------------------------------------------------------------


def mean2(x):
    n, c, h, w = x.shape
    x = x.permute(0, 2, 3, 1)[:, : h // 2 * 2, : w // 2 * 2]
    return x.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4)).permute(0, 3, 1, 2)


class Pool2(torch.autograd.Function):
    """2x2 mean, channels last; the backward pass by broadcasting."""

    @staticmethod
    def forward(ctx, x):
        ctx.shape = x.shape
        return mean2(x.contiguous(**cl))

    @staticmethod
    def backward(ctx, g):
        n, c, h, w = g.shape
        y = (g.permute(0, 2, 3, 1) * 0.25)[:, :, None, :, None].expand(n, h, 2, w, 2, c)
        y = y.reshape(n, 2 * h, 2 * w, c).permute(0, 3, 1, 2)
        rows, columns = ctx.shape[2] - 2 * h, ctx.shape[3] - 2 * w
        return F.pad(y, (0, columns, 0, rows)) if rows or columns else y


def fast_pool(x, k=2):
    assert k == 2
    return Pool2.apply(x)


def fast_norm(self, x):
    n, c, h, w = x.shape
    y = x.permute(0, 2, 3, 1).reshape(n, h * w, self.num_groups, c // self.num_groups)
    mean = y.mean((1, 3), dtype=torch.float32, keepdim=True)
    var = y.float().square().mean((1, 3), keepdim=True) - mean.square()
    scale = (var.clamp_min(0) + self.eps).rsqrt() * self.weight.view(self.num_groups, -1)
    shift = self.bias.view(self.num_groups, -1) - mean * scale
    z = torch.addcmul(shift.to(x.dtype), y, scale.to(x.dtype))
    return z.view(n, h, w, c).permute(0, 3, 1, 2)


def timed(f, x, times=10):
    for i in range(times + 3):
        if i == 3:
            torch.cuda.synchronize()
            t = time.time()
        f(x).square().sum().backward()
    torch.cuda.synchronize()
    return (time.time() - t) / times * 1e3


def use_fast_forms():
    if args.tiny and not CUDA:  # so that they are run here too
        nn.GroupNorm.forward, networks.shrink = fast_norm, fast_pool
        replace(D, avg_pool2d=fast_pool), replace(identity, avg_pool2d=fast_pool)
        return
    if not CUDA:
        return
    x = torch.randn(args.batch[0], 112, 32, 32, device=dev, dtype=torch.bfloat16).to(**cl).requires_grad_()
    norm, plain = nn.GroupNorm(8, 112).to(dev), nn.GroupNorm.forward
    with ac():
        report = {f.__qualname__: timed(lambda x, f=f: f(norm, x), x) for f in (plain, fast_norm)}
        if report["fast_norm"] < report[plain.__qualname__]:
            nn.GroupNorm.forward = fast_norm
    x = torch.randn(args.batch[0], 32, 128, 128, device=dev, dtype=torch.bfloat16).to(**cl).requires_grad_()
    pools = {f.__name__: timed(lambda x, f=f: f(x, 2), x) for f in (F.avg_pool2d, fast_pool)}
    if pools["fast_pool"] < pools["avg_pool2d"]:
        networks.shrink = fast_pool
        replace(D, avg_pool2d=fast_pool), replace(identity, avg_pool2d=fast_pool)
    say("ms, forward + backward:", {k: round(v, 3) for k, v in (report | pools).items()})


def replace(module, **functions):
    module.F = types.SimpleNamespace(**{k: getattr(F, k) for k in dir(F)} | functions)


# Data and frozen networks ------------------------------------------------------------------------


def decode(path):
    from PIL import Image

    out, ids = [], []
    with zipfile.ZipFile(path) as z:
        for name in sorted(z.namelist()):
            if name.lower().endswith((".jpg", ".png")):
                out.append(np.asarray(Image.open(io.BytesIO(z.read(name))).convert("RGB")))
                ids.append(int(Path(name).stem))
    return np.stack(out), np.array(ids)


def load_photos():
    files = sorted(Path(os.environ.get("DATA", "/tmp/data")).glob("*.zip"))
    if args.limit:
        files = [f for f in files if f.name.startswith("f")][:2] or files[:2]
    with Pool(min(len(files), 16 if CUDA else 1)) as pool:
        parts = pool.map(decode, files)
    images, ids = (np.concatenate(x) for x in zip(*parts))
    images = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    held = torch.from_numpy((ids >= HELD.start) & (ids < HELD.stop))
    train, out = images[~held][: args.limit], images[held][: args.eval]
    say(f"{len(train)} photos, {len(out)} held out")
    return train.to(dev), out.to(dev)



pixels, held = load_photos()
say(torch.cuda.get_device_name() if CUDA else "CPU", torch.__version__, vars(args))
use_fast_forms()
g = stylegan.load(HERE / "generator.safetensors")
fingerprint = g.fingerprint
g = g.to(dev, torch.float32, **cl).eval().requires_grad_(False)
d = stylegan.load_discriminator(HERE / "discriminator.safetensors")
d = d.to(dev, torch.float32, **cl).eval().requires_grad_(False)
who = identity.DlibIdentity()
who.load_state_dict({k: v.float() for k, v in load_file(HERE / "identity.safetensors").items()})
who = who.to(dev, **cl).eval().requires_grad_(False)
crop = [identity.sampling(128, x).to(dev) for x in identity.CENTRE]


def chips(x):
    """Cropped, and brought near 0, in full precision; `identity` does so in the picture's own."""
    with torch.autocast(dev.type, enabled=False):
        return crop[1] @ x.float() @ crop[0].T


identity.chips = chips
with torch.no_grad():
    w_many = g.mapping(torch.randn(1000 if args.tiny else 50_000, g.z_dim, device=dev))
    w_mean = w_many.mean(0)
    values, vectors = torch.linalg.eigh((w_many - w_mean).T.cov().cpu().double())
    directions = (vectors * values.clamp_min(0).sqrt()).flip(1).T[:COMPONENTS].float().to(dev)
LW = g.num_ws


def draw(code, **kw):
    return g.synthesize(code, **kw)


def seen(images, logits=False):
    """(unit features of the discriminator, embedding[, logits]) of images."""
    features = d.features(images)
    root = (0.5 / len(features)) ** 0.5
    found = [unit(x, root, eps=1e-6) for x in features], who.embed(images)
    return (*found, d.b4.out(d.b4.dense(features[-1])).float()) if logits else found


def apart(a, b):
    """Discriminator's distance (N,)."""
    return sum((x.float() - y.float()).square().sum(1).mean((1, 2)) for x, y in zip(a, b))


def photos(n):
    x = pixels[torch.randint(len(pixels), (n,), device=dev)].float() / 127.5 - 1
    return torch.where((torch.rand(n, device=dev) < 0.5)[:, None, None, None], x.flip(3), x)


def sample_codes(n):
    """A third plain, a third of two codes, a third with a code of its own in every style input."""
    w = g.mapping(torch.randn(n * (LW + 2), g.z_dim, device=dev)).view(n, LW + 2, -1)
    a, b, own = w[:, :1].expand(-1, LW, -1), w[:, 1:2], w[:, 2:]
    cut = 1 + (torch.rand(n, device=dev) * (LW - 1)).floor()
    crossed = torch.where((torch.arange(LW, device=dev) >= cut[:, None])[:, :, None], b, a)
    share = torch.rand(n, 1, 1, device=dev)
    mixed = w_mean + ((1 - share) * (a - w_mean) + share * (own - w_mean)) / torch.hypot(1 - share, share)
    kind = torch.rand(n, 1, 1, device=dev) * 3
    return torch.where(kind < 1, a, torch.where(kind < 2, crossed, mixed))


def targets(n):
    """(images, codes of the samples, which come last)."""
    real = round(n * PHOTOS)
    ws = sample_codes(n - real)
    fake = draw(ws).float().clamp(-1, 1)
    return torch.cat([photos(real), fake]), ws


# A stage: steps until its time is over -------------------------------------------------------------


class Scalar:
    """A number that a captured step reads."""

    def __init__(self, value):
        self.value = torch.tensor(float(value), device=dev)

    def set(self, value):
        self.value.fill_(float(value))


class Muon:
    """Momentum, orthogonalised (Newton-Schulz), for kernels and matrices; groups of one shape at once."""

    def __init__(self, params):
        self.params = params
        self.groups = {}
        for p in params:
            self.groups.setdefault(self.shape(p), []).append(p)
        self.momentum = {k: torch.zeros(sum(self.count(p) for p in v), *k, device=dev) for k, v in self.groups.items()}

    @staticmethod
    def count(p):
        return len(p) if p.ndim == 3 else 1

    @staticmethod
    def shape(p):
        return tuple(p.shape[1:]) if p.ndim == 3 else (p.shape[0], p[0].numel())

    def step(self, lr):
        for shape, params in self.groups.items():
            grad = torch.cat([p.grad.contiguous().reshape(-1, *shape) for p in params])
            m = self.momentum[shape]
            m.lerp_(grad, 0.05)
            x = torch.lerp(grad, m, 0.95)
            x = x.bfloat16()
            if shape[0] > shape[1]:
                x = x.mT
            x = x / (x.float().square().sum((1, 2), keepdim=True).sqrt() + 1e-7).to(x.dtype)
            for _ in range(5):
                a = x @ x.mT
                x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
            if shape[0] > shape[1]:
                x = x.mT
            size = 0.2 * max(shape) ** 0.5
            at = 0
            for p in params:
                k = self.count(p)
                p.sub_((x[at : at + k].float() * (lr * size)).reshape(p.shape))
                at += k


class Stage:
    def __init__(self, name, network, step, seconds, batch, lr, scalars=None, muon=0.0, slow=()):
        """step() -> (loss, {name: number}) of one batch; scalars: name -> (Scalar, share of the time -> value);
        slow: (beginnings of names, factor) of what takes another learning rate."""
        self.name, self.network, self.step_losses = name, network, step
        self.seconds, self.batch, self.peak, self.scalars = seconds, batch, lr, scalars or {}
        own = dict(network.named_parameters())
        self.params = params = [*own.values()]
        self.ema = copy.deepcopy(network).requires_grad_(False)
        self.pairs = [*zip(params, self.ema.parameters(), strict=True)]
        self.lr, self.slow_lr, self.muon_lr, self.share = Scalar(0.0), Scalar(0.0), Scalar(0.0), Scalar(1.0)
        self.slow = slow[1] if slow else 1.0
        slow = {id(p) for k, p in own.items() if slow and k.startswith(slow[0])}
        self.muon, rest = [], params
        if muon:
            named = {k: p for k, p in own.items() if p.ndim >= 2 and min(Muon.shape(p)) >= 16}
            named = {k: p for k, p in named.items() if not k.endswith(("offset", "number", "length", "size"))}
            chosen = {id(p) for p in named.values()}
            parts = [[p for p in named.values() if (id(p) in slow) == late] for late in (False, True)]
            self.muon, self.muon_peak = [Muon(ps) for ps in parts], muon
            rest = [p for p in params if id(p) not in chosen]
        kw = dict(capturable=True, foreach=True) if CUDA else {}
        groups = [([p for p in rest if id(p) not in slow], self.lr), ([p for p in rest if id(p) in slow], self.slow_lr)]
        groups = [dict(params=ps, lr=rate.value if CUDA else 0.0) for ps, rate in groups if ps]
        self.opt = torch.optim.Adam(groups, betas=(0.9, 0.99), **kw)
        self.stat, self.names = torch.zeros(16, device=dev), None

    def step(self):
        loss, told = self.step_losses()
        for p in self.params:
            p.grad = None
        loss.backward(inputs=self.params)
        grads = [p.grad for p in self.params]
        total = torch.stack(torch._foreach_norm(grads)).norm()
        fine = total.isfinite()
        scale = torch.where(fine, (1 / (total + 1e-6)).clamp(max=1.0), torch.zeros_like(total))
        for x in grads:  # a step that is not finite changes nothing but the momentum
            x.copy_(torch.where(fine, x * scale, torch.zeros_like(x)))
        self.opt.step()
        with torch.no_grad():
            for muon, factor in zip(self.muon, (1.0, self.slow)):
                muon.step(self.muon_lr.value * factor)
            p, e = zip(*self.pairs)
            change = torch._foreach_sub(p, e)
            torch._foreach_mul_(change, self.share.value)
            torch._foreach_add_(e, change)
            numbers = torch.stack([x.detach().float() for x in (*told.values(), total)])
            good = numbers.isfinite().all()
            self.stat[: len(numbers)] += torch.where(good, numbers, torch.zeros_like(numbers))
            self.stat[14] += good
            self.stat[15] += 1
        self.names = [*told, "grad"]

    def set(self, p, steps):
        # Warm up, hold, fall to nothing over the last three fifths.
        rise = min(1.0, (steps + 1) / args.rise)
        fall = 1.0 if p < 0.4 else 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (p - 0.4) / 0.6))
        lr = self.peak * rise * fall
        if CUDA:
            self.lr.set(lr)
            self.slow_lr.set(lr * self.slow)
        else:
            for group, factor in zip(self.opt.param_groups, (1.0, self.slow)):
                group["lr"] = lr * factor
        if self.muon:
            self.muon_lr.set(self.muon_peak * rise * fall)
        half = min(HALF_LIFE, 0.1 * (steps + 1) * self.batch)
        self.share.set(1 - 0.5 ** (self.batch / half))
        for scalar, value in self.scalars.values():
            scalar.set(value(p))
        return lr

    def run(self, save):
        begin = time.time()
        graph, steps = None, 0
        self.set(0.0, 0)
        if CUDA:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(4):
                    self.step()
            torch.cuda.current_stream().wait_stream(side)
            torch.cuda.synchronize()
            say(f"{self.name}: warm-up {time.time() - begin:.1f} s, loss numbers",
                dict(zip(self.names, [round(x / 4, 4) for x in self.stat.tolist()])))
            if not args.eager:
                try:
                    for p in self.params:
                        p.grad = None
                    graph = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(graph):
                        self.step()
                    say(f"{self.name}: captured, {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
                except Exception as error:
                    say("CAPTURE FAILED:", repr(error)[:600])
                    sys.exit(3)
        self.stat.zero_()
        last, saved, log = (time.time(), 0), 0, []
        while True:
            p = max((time.time() - begin) / self.seconds, steps / (args.steps or math.inf))
            if p >= 1:
                break
            lr = self.set(p, steps)
            graph.replay() if graph else self.step()
            steps += 1
            if steps % (5 if CUDA else 2) == 0:
                if CUDA:
                    torch.cuda.current_stream().synchronize()
                now = time.time()
                if now - last[0] > 5 or args.tiny:
                    s = self.stat.tolist()
                    self.stat.zero_()
                    c = max(s[14], 1)
                    line = dict(p=p, images=steps * self.batch, rate=(steps - last[1]) * self.batch / (now - last[0]),
                                lr=lr, bad=s[15] - s[14])
                    line |= {k: v / c for k, v in zip(self.names, s)}
                    log.append(line)
                    say(self.name, json.dumps({k: float(f"{v:.4g}") for k, v in line.items()}))
                    last = (now, steps)
                if self.seconds > 60 and p > 0.5 and not saved:
                    saved = 1
                    save(self.ema)
        if CUDA:
            torch.cuda.synchronize()
        del graph
        save(self.ema)
        (args.out / f"{self.name}.json").write_text(json.dumps(log))
        say(f"{self.name}: {steps * self.batch} images in {time.time() - begin:.1f} s")
        return self.ema


def write(name, network, config):
    """OUT/name.safetensors; what is under `descent` in a file of its own, as none may have over 16 MB."""
    state = {k: (v.half() if v.ndim > 1 and v.is_floating_point() else v).contiguous().cpu() for k, v in network.state_dict().items()}
    parts = {name: {k: v for k, v in state.items() if not k.startswith("descent.")}}
    parts[f"{name}-descent"] = {k: v for k, v in state.items() if k.startswith("descent.")}
    for file, part in parts.items():
        if part:
            path = args.out / f"{file}.safetensors"
            save_file(part, path, {"kind": name, "fingerprint": fingerprint, "config": json.dumps(config)})
            say(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


def read(name, network):
    for folder in (args.start, args.out):
        files = [folder / f"{name}{x}.safetensors" for x in ("", "-descent")] if folder else []
        if files and files[0].is_file():
            state = {k: v for f in files if f.is_file() for k, v in load_file(f).items()}
            network.load_state_dict({k: v.float() for k, v in state.items()})
            say(f"{name} read from {folder}")
            return
    say(f"NO {name} TO READ: it is as it begins")


def plain(config):
    from dataclasses import asdict

    return asdict(config)


@torch.no_grad()
def measure(name, redraw, images=None):
    """Held-out photos: MSE, discriminator's distance, identity distance, share of same person."""
    torch.backends.cudnn.benchmark = False
    rows = []
    for x in (held if images is None else images).split(20):
        x = x.float() / 127.5 - 1 if x.dtype == torch.uint8 else x
        with ac():
            y = redraw(x).float().clamp(-1, 1)
            (fx, ex), (fy, ey) = seen(x), seen(y)
        far = (ex.float() - ey.float()).norm(dim=1)
        rows.append(torch.stack([(x - y).square().mean((1, 2, 3)), apart(fx, fy), far, (far < 0.6).float()]))
    torch.backends.cudnn.benchmark = True
    m = torch.cat(rows, 1).mean(1).tolist()
    say(f"HELD OUT {name}: MSE {m[0]:.5f}, discriminator {m[1]:.4f}, identity {m[2]:.3f}, same {m[3]:.3f}")


# A: feature -----------------------------------------------------------------------------------------

codes_config = networks.CodesConfig(img_channels=g.img_channels, resolution=g.resolution, num_ws=LW, w_dim=g.w_dim)
side = next(x.side for x in g.synthesis.layers if x.name == LAYER)
with torch.no_grad():
    channels = draw(g.spread(w_mean[None]), stop=LAYER).x.shape[1]
feature_config = networks.FeatureConfig(fingerprint=fingerprint, layer=LAYER, channels=channels, side=side, codes=codes_config)
feature = networks.FeatureEncoder(feature_config).to(dev, **cl)
feature.fit(g, w_many)


def redraw_feature(network):
    def redraw(x):
        found = network.find(x, g)
        return draw(found.code, start=found.feature)
    return redraw


def loss_feature(late):
    n = args.batch[0]
    with torch.no_grad(), ac():
        x, ws = targets(n)
        fx, ex = seen(x)
    with ac():
        found = feature.find(x, g)
        y = draw(found.code, start=found.feature)
        both = torch.cat([found.drawn, y])
        fb, eb = seen(both)
    far = apart(fb, [torch.cat([v, v]) for v in fx]).view(2, n).mean(1)
    who_ = (eb.float() - torch.cat([ex, ex]).float()).square().sum(1).view(2, n).mean(1)
    mse = (both.float() - torch.cat([x, x])).square().mean((1, 2, 3)).view(2, n).mean(1)
    known = (found.code[n - len(ws):] - ws) / feature.codes.scale
    latent = known.square().mean() * (len(ws) / n)
    spread = ((found.code - w_mean) / feature.codes.scale).square().mean()
    reg = found.change.float().square().mean()
    wi, wp = args.identity, args.perceptual
    loss = mse[0] + wp * far[0] + wi[0] * who_[0] + 0.02 * latent + 0.002 * spread
    loss = loss + mse[1] + wp * far[1] + wi[1] * late.value * who_[1] + 0.002 * reg
    real = round(n * PHOTOS)
    seen_mse = (y[:real].detach().float() - x[:real]).square().mean()
    return loss, dict(c_mse=mse[0], c_disc=far[0], c_id=who_[0], mse=mse[1], disc=far[1], id=who_[1],
                      latent=latent, code=spread, reg=reg, photo=seen_mse)


if args.seconds[0]:
    late = Scalar(0)
    stage = Stage("feature", feature, lambda: loss_feature(late), args.seconds[0],
                  args.batch[0], args.lr[0], {"late": (late, lambda p: min(1.0, max(0.0, (p - args.late) / 0.1)))}, args.muon[0])
    feature = stage.run(lambda e: write("feature", e, plain(feature_config)))
    measure("feature", redraw_feature(feature))
    measure("feature, codes alone", lambda x: draw(feature.codes(x)))
    del stage
else:
    read("feature", feature)
feature.requires_grad_(False)

# B: in-domain ---------------------------------------------------------------------------------------

descent_config = networks.DescentConfig(num_ws=LW, w_dim=g.w_dim, passes=args.passes)
domain = networks.InDomainEncoder(codes_config, descent_config).to(dev, **cl)
domain.codes.load_state_dict(feature.codes.state_dict())
judge = networks.Judge(draw, d, who.embed)
weights = descent_config.weights


def loss_domain():
    n = args.batch[1]
    with torch.no_grad(), ac():
        x, ws = targets(n)
    with ac():
        standing = domain.codes.standing(x)
        y = draw(domain.place(standing))
        fy, ey, logits = seen(y, logits=True)
        with torch.no_grad():
            fx, ex = seen(x)
        _, losses = domain.descend(x, standing.detach(), judge)
    mse = (y.float() - x).square().mean()
    far, who_ = apart(fy, fx).mean(), (ey.float() - ex.float()).square().sum(1).mean()
    adversarial = F.softplus(-logits).mean()
    known = standing[n - len(ws):] - (ws - domain.codes.mean) / domain.codes.scale
    latent, size = known.square().mean() * (len(ws) / n), standing.square().mean()
    after = torch.stack(losses)
    loss = mse + weights.perceptual * far + weights.identity * who_
    loss = loss + 0.005 * adversarial + 0.02 * latent + 0.004 * size + after.mean()
    ends = after.detach().mean(1)
    return loss, dict(mse=mse, disc=far, id=who_, logit=adversarial, latent=latent, size=size,
                      first=ends[0], last=ends[-1], after=ends.mean())


def redraw_domain(x):
    return draw(domain.find(x, judge))


if args.seconds[1]:
    with ac():
        x = held[:20].float() / 127.5 - 1
        with torch.no_grad():
            start, photo = domain.codes.standing(x), judge.look(x)
        own = networks.Judge(lambda c: draw(domain.place(c)), d, who.embed)
        domain.descent.fit(domain.descent.slope(start, photo, own)[1])
        del start, photo, own
    stage = Stage("in-domain", domain, loss_domain, args.seconds[1], args.batch[1], args.lr[1], muon=args.muon[1], slow=("codes.", 0.3))
    domain = stage.run(lambda e: write("in-domain", e, {"codes": plain(codes_config), "descent": plain(descent_config)}))
    measure("in-domain", redraw_domain)
    measure("in-domain, first look", lambda x: draw(domain.codes(x)))
    del stage
else:
    read("in-domain", domain)
domain.requires_grad_(False)

# C: editor ------------------------------------------------------------------------------------------

editor_config = networks.EditorConfig(channels=channels)
editor = networks.FeatureEditor(editor_config).to(dev, **cl)
editor.fit(feature.fusion)


def edits(w, n):
    """Changes (n, L, D): a principal direction, or some of the way to another sample; of all or some inputs."""
    k = torch.randint(COMPONENTS, (n,), device=dev)
    strength = (0.5 + 2.5 * torch.rand(n, device=dev)) * torch.where(torch.rand(n, device=dev) < 0.5, -1.0, 1.0)
    straight = (directions[k] * strength[:, None])[:, None].expand(-1, LW, -1)
    other = (0.2 + 0.5 * torch.rand(n, 1, 1, device=dev)) * (sample_codes(n) - w)
    e = torch.where(torch.rand(n, 1, 1, device=dev) < 0.7, straight, other)
    a, b = (torch.rand(n, 2, device=dev) * (LW + 1)).floor().unbind(1)
    a, b = torch.minimum(a, b), torch.maximum(a, b)
    at = torch.arange(LW, device=dev)
    some = ((at >= a[:, None]) & (at < b[:, None]))[:, :, None]
    return torch.where((torch.rand(n, 1, 1, device=dev) < 0.75) | some, e, torch.zeros_like(e))


def edited(x, e, w_in, edit=None):
    """The picture of x after the edit e, whose delta is that of w_in; edit None: F + delta."""
    found = feature.find(x, g)
    before, after = (draw(w, stop=LAYER) for w in (w_in, w_in + e))
    delta = after.x - before.x
    with torch.set_grad_enabled(edit is not None and edit.training):
        new = found.feature.x + delta if edit is None else edit(found.feature.x, delta)
        rgb = found.feature.rgb + after.rgb - before.rgb
        return draw(found.code + e, start=found.feature._replace(x=new, rgb=rgb))


def loss_editor():
    n = args.batch[2]
    real = n * 2 // 5
    m = n - real
    with torch.no_grad(), ac():
        photo = photos(real)
        ws = torch.cat([sample_codes(m - m // 2), domain.codes(photos(m // 2))])
        e = edits(ws, m)
        x, y = draw(ws).float().clamp(-1, 1), draw(ws + e).float().clamp(-1, 1)
        x, y = torch.cat([photo, x]), torch.cat([photo, y])
        guess = domain.codes(x)
        exact = torch.rand(m, 1, 1, device=dev) < 0.5
        w_in = torch.cat([guess[:real], torch.where(exact, ws, guess[real:])])
        e = torch.cat([torch.zeros_like(w_in[:real]), e])
        fy, ey = seen(y)
        found = feature.find(x, g)
        before, after = (draw(w, stop=LAYER) for w in (w_in, w_in + e))
        delta, rgb = after.x - before.x, found.feature.rgb + after.rgb - before.rgb
    with ac():
        new = editor(found.feature.x, delta)
        out = draw(found.code + e, start=found.feature._replace(x=new, rgb=rgb))
        fo, eo = seen(out)
    mse = (out.float() - y).square().mean((1, 2, 3))
    far, who_ = apart(fo, fy), (eo.float() - ey.float()).square().sum(1)
    loss = mse.mean() + args.perceptual * far.mean() + 0.03 * who_.mean()
    return loss, dict(mse=mse[real:].mean(), disc=far[real:].mean(), id=who_[real:].mean(),
                      photo=mse[:real].mean(), photo_disc=far[:real].mean())


@torch.no_grad()
def measure_edits(name, edit):
    """How far PCA edits at +-2 go beside those of the in-domain code: projected change of the
    discriminator's features, and the identity distance to the photo."""
    share, far, theirs = [], [], []
    torch.manual_seed(5)
    for x in held[:60].split(20):
        x = x.float() / 127.5 - 1
        with ac():
            w = domain.find(x, judge)
            e = torch.where(torch.rand(len(x), 1, 1, device=dev) < 0.5, -2.0, 2.0)
            e = e * directions[torch.randint(10, (len(x),), device=dev)][:, None].expand(-1, LW, -1)
            zero = torch.zeros_like(e)
            (a, _), (b, eb) = seen(draw(w)), seen(draw(w + e))
            (c, _), (v, ev) = seen(edited(x, zero, w, edit)), seen(edited(x, e, w, edit))
            _, ex = seen(x)
        flat = lambda fs: torch.cat([f.float().flatten(1) for f in fs], 1)
        wanted, got = flat(b) - flat(a), flat(v) - flat(c)
        share.append((wanted * got).sum(1) / wanted.square().sum(1))
        far.append((ev.float() - ex.float()).norm(dim=1))
        theirs.append((eb.float() - ex.float()).norm(dim=1))
    mean = lambda x: float(torch.cat(x).mean())
    say(f"EDITS {name}: go {mean(share):.3f} as far; identity distance to the photo {mean(far):.3f}, "
        f"in-domain's {mean(theirs):.3f}")


if args.seconds[2]:
    measure_edits("added", None)
    editor.train()
    stage = Stage("editor", editor, loss_editor, args.seconds[2], args.batch[2], args.lr[2], muon=args.muon[2])
    editor = stage.run(lambda e: write("editor", e, plain(editor_config))).eval()
    measure_edits("editor", editor)
    zero = lambda x: torch.zeros(len(x), LW, g.w_dim, device=dev)
    measure("editor, no edit", lambda x: edited(x, zero(x), domain.codes(x), editor))
say(f"done; memory {torch.cuda.max_memory_allocated() / 2**30 if CUDA else 0:.1f} GiB")
