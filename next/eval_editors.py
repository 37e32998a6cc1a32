"""eval_editors.py FACES.zip FIRST EVERY COUNT NAME=FILE[:gate][:weight] ...: as benchmarks.feature_edits, several editors at once."""
import sys
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks import faces
from benchmarks import feature_edits as fe
from benchmarks.bench import Bench
from benchmarks.judges import identity_judge, landmark_judge
from facsimile import editing, encoders
from facsimile.editing.feature_transport import FeatureTransport
from facsimile.encoders.editor import FeatureEditor

zipf, first, every, count, *named = sys.argv[1:]
J = Path("SHARED/tools/judges.py")
o = fe.Options(faces=Path(zipf), first=int(first), every=int(every), count=int(count), threads=2, identity=J)
with torch.no_grad():
    bench = Bench.load(o); studio, g = bench.studio, bench.generator
    judge = identity_judge(J); landmarks, _ = landmark_judge(J, None)
    latents = bench.run("f/z+", steps=0, init="encoder").latents
    code = bench.run("w+", steps=0, init="encoder").latents
    edit = editing.get("direction")
    base, note = fe.find_transport(g, studio.encoders, edit, [latents])
    memo = {}
    def predict(x):
        k = round(float(x.double().sum()), 6), len(x)
        if k not in memo: memo[k] = base.predict_ws(x)
        return memo[k]
    ways = {fe.IN_DOMAIN: (code, None)}
    for n in named:
        name, rest = n.split("="); path, *opts = rest.split(":")
        e = encoders.load(path, g)
        cfg = e.config
        if opts and opts[0]: cfg = replace(cfg, gate=float(opts[0]))
        if len(opts) > 1: cfg = replace(cfg, residual_weight=float(opts[1]))
        e2 = FeatureEditor(cfg); e2.load_state_dict(e.state_dict()); e2.requires_grad_(False)
        ways[name] = (latents, FeatureTransport(cfg.layer, predict, e2, e2.in_domain_share))
    unedited = {n: bench.synthesize(x) for n, (x, _) in ways.items()}
    values = {n: [] for n in ways}
    sheet = {"target": bench.faces.images}
    for number in range(1, 7):
        for s in (-2.0, 2.0):
            pics = {n: fe.Pictures(unedited[n], bench.synthesize(edit(g, x, transport=t, direction=f"pca:{number}", strength=s))) for n, (x, t) in ways.items()}
            if number <= 3: sheet |= {f"{n} {number} {s:+g}": p.after for n, p in pics.items()}
            for n, m in fe.measure(pics, bench.faces.images, studio.perceptual, judge, landmarks).items(): values[n].append(m)
        print(number, {n: [round(v, 3) for v in torch.stack(x).nanmean((0, 2)).tolist()] for n, x in values.items()}, flush=True)
    faces.save_picture(Path("runs/gpu/editors.png"), sheet)
