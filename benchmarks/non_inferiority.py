"""The paired one-sided test of non-inferiority, of the F/Z+ paper's section 4.

"Revisiting Latent Space of GAN Inversion for Real Image Editing": F/Z+ against F/W+ (P_N), with a
margin of 1e-8, for MSE and SSIM of 50 images.
"""

from collections.abc import Sequence

import numpy as np

MARGIN = 1e-8


def p_value(values: Sequence[float], others: Sequence[float], margin: float = MARGIN) -> float:
    """p of the hypothesis that `values` are on average at least `margin` below `others`.

    Of the same images in the same order; larger is better. Student's t of the differences; 0 or 1
    where these are all alike.
    """
    from scipy.stats import t  # of scikit-image

    if len(values) != len(others) or len(values) < 2:
        raise ValueError(
            f"got {len(values)} values and {len(others)} others; expected two or more pairs"
        )
    gains = np.subtract(values, others) + margin
    error = gains.std(ddof=1) / len(gains) ** 0.5
    if error == 0:
        return 0.0 if gains.mean() > 0 else 1.0
    return float(t.sf(gains.mean() / error, len(gains) - 1))
