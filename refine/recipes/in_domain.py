"""W+ held in the encoder's domain: "In-Domain GAN Inversion for Real Image Editing" (IDInvert).

    w <- E(x)
    repeat 100 times
        L = |x - G(w)|^2 + lambda_vgg d(x, G(w)) + lambda_dom |w - E(G(w))|^2
        w <- Adam step on L, through G and E

Differences from the paper: its d is a squared difference of VGG16's conv4_3 on 0..255 with the
weight 5e-5, here it is the distance of the other recipes with their weight, so that they compare.
With that, its lambda_dom = 2 leaves less of the identity after edits of any strength: with the
bundled faces, a cosine of 0.36 against 0.42 with a tenth of it (benchmarks/inversion.py).
"""

from dataclasses import replace

from facsimile.refine.recipe import Recipe, Term

from . import register
from .shared import CODE

register(
    Recipe(
        name="in-domain",
        space="w+",
        init="encoder",
        encoder="in-domain",
        phases=(replace(CODE, terms=(*CODE.terms, Term("domain_reg", 0.2)), steps=100),),
    ),
)
