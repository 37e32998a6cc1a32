"""What the recipes have in common, so that a comparison between spaces is one of spaces alone."""

from dataclasses import replace

from facsimile.refine.recipe import Phase, Term, Variable

# Equation 1 of "Revisiting Latent Space of GAN Inversion for Real Image Editing", with its
# lambda_per = 10 for LPIPS. Image2StyleGAN weights its VGG16 features, which are larger, by 1.
PIXEL = Term("pixel", 1.0)
PERCEPTUAL = Term("perceptual", {"none": 0.0, "vgg16": 1.0, "vgg16++": 1.0, "other": 10.0})

# Equation 3 of the same paper, for a feature that an encoder predicted. Its lambda_reg = 10 is for
# features of another scale. With the bundled faces, 10 costs a fifth of the MSE after 100 steps,
# and 1 nothing.
FEATURE_REG = Term("feature_reg", 1.0)

# BDInvert's weight.
P_NORM = Term("p_norm", 0.01)

LR = 0.01
CODE_VARIABLE = Variable("code", LR)
FEATURE_VARIABLE = Variable("feature", LR)

# The papers' Adam has betas of (0.9, 0.999). A shorter memory of the gradient's size saves more
# than half of the steps: with the bundled faces, W+ from the mean reaches after 200 steps the
# losses that it otherwise has after about 400, and F/Z+ from a random code those after 500.
CODE = Phase(
    name="code",
    variables=(CODE_VARIABLE,),
    terms=(PIXEL, PERCEPTUAL),
    steps=1200,
    betas=(0.9, 0.8),
)
CODE_AND_FEATURE = replace(CODE, variables=(CODE_VARIABLE, FEATURE_VARIABLE))
