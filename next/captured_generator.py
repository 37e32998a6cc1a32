"""Train the 128 px pair on: captured steps, everything on the device. Usage: gen.py SECONDS OUT [--tiny]"""
import sys, time, math, json, io, copy, os, types
from pathlib import Path
from multiprocessing import Pool
import numpy as np
import torch, torch.nn.functional as F
from torch import nn
sys.path.insert(0, os.environ.get("TREE", "."))
import stylegan
from stylegan import layers as L
import stylegan.discriminator as D
from stylegan.discriminator import Conv

TINY = "--tiny" in sys.argv
SECONDS, OUT = float(sys.argv[1]), Path(sys.argv[2])
DATA = os.environ.get("DATA", "/tmp/data")
dev = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BATCH, GROUP, R1, R1_EVERY, LR = (8 if TINY else int(os.environ.get("BATCH", 128))), 8, 0.4, 16, float(os.environ.get("LR", 0.0025))
torch.backends.cudnn.benchmark = True
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
t00 = time.time()

def decode(path):
    from PIL import Image
    import zipfile
    out = []
    with zipfile.ZipFile(path) as z:
        for name in sorted(z.namelist())[: 64 if TINY else None]:
            if name.lower().endswith((".jpg", ".png")):
                out.append(np.asarray(Image.open(io.BytesIO(z.read(name))).convert("RGB")))
    return np.stack(out)

def load():
    files = sorted(Path(DATA).glob("*.zip"))
    with Pool(min(len(files), 16)) as pool:
        parts = pool.map(decode, files)
    return torch.from_numpy(np.concatenate(parts)).permute(0, 3, 1, 2).contiguous()

def avg_reshape(x, k=2):
    n, c, h, w = x.shape
    return x.view(n, c, h // 2, 2, w // 2, 2).mean((3, 5)) if x.is_contiguous() else x.permute(0,2,3,1).view(n, h//2, 2, w//2, 2, c).mean((2, 4)).permute(0,3,1,2)

class Pool2(torch.autograd.Function):  # mean 2x2, channels last; backward by broadcast; double backward again pool
    @staticmethod
    def forward(ctx, x):
        return avg_reshape(x)
    @staticmethod
    def backward(ctx, g):
        return Up2.apply(g)
class Up2(torch.autograd.Function):
    @staticmethod
    def forward(ctx, g):
        n, c, h, w = g.shape
        y = (g.permute(0,2,3,1) * 0.25)[:, :, None, :, None].expand(n, h, 2, w, 2, c).reshape(n, 2*h, 2*w, c)
        return y.permute(0,3,1,2)
    @staticmethod
    def backward(ctx, g):
        return Pool2.apply(g.contiguous(memory_format=torch.channels_last))
def pool_slices(x, k=2):
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) * 0.25
def pool_custom(x, k=2):
    return Pool2.apply(x.contiguous(memory_format=torch.channels_last))
POOLS = {"torch": F.avg_pool2d, "slices": pool_slices, "custom": pool_custom}

def time_pools():
    if dev.type != "cuda": return "torch"
    best, report = None, {}
    real = torch.randn(BATCH, 32, 128, 128, device=dev, dtype=torch.bfloat16).to(memory_format=torch.channels_last).requires_grad_()
    for name, f in POOLS.items():
        try:
            for i in range(13):
                if i == 3: torch.cuda.synchronize(); t = time.time()
                f(real, 2).square().sum().backward(); real.grad = None
            torch.cuda.synchronize(); report[name] = (time.time() - t) / 10 * 1e3
        except Exception as e: print("pool", name, e)
    print("2x2 mean, forward + backward, ms:", report, flush=True)
    return min(report, key=report.get)

class StAlex(nn.Module):
    """ST-LPIPS's AlexNet: its last three features, mean square 1."""
    def __init__(self, path):
        super().__init__()
        s = torch.load(path, map_location="cpu", weights_only=True)
        ws = [(k, v) for k, v in s.items() if k.endswith("weight") and v.dim() == 4 and v.shape[-1] in (11, 5, 3) and v.shape[1] not in (1,) and "filt" not in k]
        names = [k for k, v in ws]
        print("alex convs", [(k, tuple(v.shape)) for k, v in ws])
        assert len(ws) == 5, names
        for i, (k, v) in enumerate(ws):
            self.register_buffer(f"w{i}", v.clone()); self.register_buffer(f"b{i}", s[k[:-6] + "bias"].clone())
        self.register_buffer("shift", torch.tensor([-.030, -.088, -.188]).view(1,3,1,1)); self.register_buffer("scale", torch.tensor([.458,.448,.450]).view(1,3,1,1))
        f = torch.tensor([1., 2., 1.]); self.register_buffer("f", (torch.outer(f, f) / 16)[None, None])
    def blur(self, x):
        c = x.shape[1]
        return F.conv2d(F.pad(x, (2,2,2,2), "reflect"), self.f.to(x.dtype).expand(c, 1, 3, 3), stride=2, groups=c)
    def forward(self, x):
        x = (x - self.shift) / self.scale
        c = lambda i, x, p: F.conv2d(x, getattr(self, f"w{i}"), getattr(self, f"b{i}"), padding=p)
        x = F.relu(self.blur(c(0, x, 2)))
        x = self.blur(F.max_pool2d(x, 3, 1)); x = F.relu(c(1, x, 2))
        x = self.blur(F.max_pool2d(x, 3, 1)); a = F.relu(c(2, x, 1)); b = F.relu(c(3, a, 1)); d = F.relu(c(4, b, 1))
        return [y * (y.float().square().mean(1, keepdim=True) + 1e-10).rsqrt().to(y.dtype) for y in (a, b, d)]

class Heads(nn.Module):
    def __init__(self, channels, width=32):
        super().__init__()
        self.inner = nn.ModuleList(Conv(i, width, 3) for i in channels)
        self.outer = nn.ModuleList(Conv(width, 1, 1, bias=False) for _ in channels)
    def forward(self, feats):
        return torch.stack([o(i(x, padding=1)).mean((1,2,3)) for x, i, o in zip(feats, self.inner, self.outer)], 1)

pixels = load()
print(f"{len(pixels)} images decoded in {time.time()-t00:.1f} s", flush=True)
pixels = pixels.to(dev)
start = Path(os.environ.get("START", ".gpu/start"))
torch.manual_seed(20)
g = stylegan.load(start / "generator.safetensors").to(dev, torch.float32, memory_format=torch.channels_last).train().requires_grad_(True)
d = stylegan.load_discriminator(start / "discriminator.safetensors").to(dev, torch.float32, memory_format=torch.channels_last).train().requires_grad_(True)
ema = copy.deepcopy(g).requires_grad_(False)
choice = time_pools(); print("pool:", choice)
D.F = types.SimpleNamespace(**{k: getattr(F, k) for k in dir(F)}); D.F.avg_pool2d = POOLS[choice]
alex = StAlex(os.environ.get("ALEX", ".gpu/alex.pth")).to(dev).requires_grad_(False)
heads = Heads([384, 256, 256]).to(dev)
d_params, h_params, g_params = [*d.parameters()], [*heads.parameters()], [*g.parameters()]
lr = torch.tensor(LR, device=dev)
kw = dict(lr=lr, betas=(0.0, 0.99), capturable=True, foreach=True) if dev.type == "cuda" else dict(lr=LR, betas=(0.0, 0.99))
opt_d = torch.optim.Adam(d_params + h_params, **kw); opt_g = torch.optim.Adam(g_params, **kw)
vis = torch.tensor(0.5, device=dev)
half = 20_000
factor = 0.5 ** (BATCH / half)
stat = torch.zeros(8, device=dev)  # sums: sign real, d fake, d real, r1, g, g vis, count
noise_sizes = [tuple(x.noise_const.shape) for x in g.synthesis.noise_inputs]
ac = lambda: torch.autocast(dev.type, torch.bfloat16)

def step(r1):
    n = BATCH
    z = torch.randn(2 * n, g.z_dim, device=dev)
    noise = [torch.randn(n, 1, *s, device=dev) for s in noise_sizes]
    w = g.mapping(z); a, b = w[:n], w[n:]
    cut = torch.where(torch.rand(n, device=dev) < 0.5, 1 + (torch.rand(n, device=dev) * (g.num_ws - 1)).floor(), float(g.num_ws))
    second = torch.arange(g.num_ws, device=dev) >= cut[:, None]
    ws = torch.where(second[:, :, None], b[:, None], a[:, None])
    with ac(): fake = g.synthesize(ws, noise)
    idx = torch.randint(len(pixels), (n,), device=dev)
    real = pixels[idx].float() / 127.5 - 1
    real = torch.where((torch.rand(n, device=dev) < 0.5)[:, None, None, None], real.flip(3), real)
    if r1: real = real.requires_grad_()
    # discriminator
    with ac():
        lf = d(fake.detach()).float(); lr_ = d(real).float()
        vf = heads(alex(fake.detach())).float(); vr = heads(alex(real.detach())).float()
    loss = F.softplus(lf).mean() + F.softplus(-lr_).mean() + vis * (F.softplus(vf).mean() + F.softplus(-vr).mean())
    if r1:
        (grad,) = torch.autograd.grad(lr_.sum(), real, create_graph=True)
        pen = grad.square().sum((1, 2, 3)).mean(); loss = loss + 0.5 * R1 * R1_EVERY * pen
        stat[3] += pen.detach()
    opt_d.zero_grad(set_to_none=True)
    loss.backward(inputs=d_params + h_params)
    opt_d.step()
    # generator
    with ac():
        lg = d(fake).float(); vg = heads(alex(fake)).float()
    gl, vl = F.softplus(-lg).mean(), F.softplus(-vg).mean()
    opt_g.zero_grad(set_to_none=True)
    (gl + vis * vl).backward(inputs=g_params)
    opt_g.step()
    torch._foreach_lerp_(list(ema.parameters()), g_params, 1 - factor)
    stat[0] += lr_.detach().sign().mean(); stat[1] += F.softplus(lf.detach()).mean(); stat[2] += F.softplus(-lr_.detach()).mean()
    stat[4] += gl.detach(); stat[5] += vl.detach(); stat[6] += 1; stat[7] += F.softplus(vf.detach()).mean()

def warm(n):
    for i in range(n): step(i % 4 == 3)

graphs = None
t = time.time()
if dev.type == "cuda":
    side = torch.cuda.Stream(); side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side): warm(6)
    torch.cuda.current_stream().wait_stream(side); torch.cuda.synchronize()
    print(f"warm-up {time.time()-t:.1f} s", flush=True); t = time.time()
    try:
        graphs, pool = {}, None
        for r in (False, True):
            opt_d.zero_grad(set_to_none=True); opt_g.zero_grad(set_to_none=True)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool): step(r)
            pool = graph.pool(); graphs[r] = graph
        print(f"captured in {time.time()-t:.1f} s, {torch.cuda.max_memory_allocated()/2**30:.1f} GiB", flush=True)
    except Exception as e:
        print("CAPTURE FAILED:", repr(e)[:500], flush=True); graphs = None
        torch.cuda.synchronize()
else:
    warm(2)

OUT.mkdir(parents=True, exist_ok=True)
def save(tag):
    torch.save({"g": {k: v.half().cpu() for k, v in ema.state_dict().items()}}, OUT / f"g-{tag}.pt")
def finish():
    torch.save({k: v.cpu() for k, v in d.state_dict().items()}, OUT / "d.pt")
    torch.save({"raw": {k: v.half().cpu() for k, v in g.state_dict().items()}}, OUT / "raw.pt")

begin = time.time(); i = 0; stat.zero_(); last = (begin, 0); marks = [0.5, 0.8]
log = []
while True:
    p = (time.time() - begin) / SECONDS
    if p >= 1: break
    lr_now = LR * (1 if p < 0.5 else 0.08 + 0.92 * 0.5 * (1 + math.cos(math.pi * (p - 0.5) / 0.5)))
    v_now = 0.5 if p < 0.3 else max(0.1, 0.5 - 0.4 * (p - 0.3) / 0.5)
    if dev.type == "cuda": lr.fill_(lr_now)
    vis.fill_(v_now)
    r = i % R1_EVERY == 0
    if graphs: graphs[r].replay()
    else: step(r)
    i += 1
    if i % (5 if TINY else 200) == 0:
        s = stat.tolist(); stat.zero_(); now = time.time(); c = max(s[6], 1)
        line = dict(images=i * BATCH, rate=(i - last[1]) * BATCH / (now - last[0]), lr=lr_now, vis=v_now, sign=s[0]/c, d_fake=s[1]/c, d_real=s[2]/c, r1=s[3]/max(c/R1_EVERY,1), g=s[4]/c, gv=s[5]/c, vf=s[7]/c)
        last = (now, i); log.append(line)
        if i % 1000 == 0 or TINY or i <= 400: print(json.dumps({k: round(v, 5) for k, v in line.items()}), flush=True)
        if not math.isfinite(s[1]): print("DIVERGED"); break
    if marks and p > marks[0]: save(f"{int(marks[0]*100)}"); marks.pop(0)
save("100"); finish()
(OUT / "log.json").write_text(json.dumps(log))
print(f"{i*BATCH} images in {time.time()-begin:.0f} s; all {time.time()-t00:.0f} s; memory {torch.cuda.max_memory_allocated()/2**30 if dev.type=='cuda' else 0:.1f} GiB")
