"""Settings of NVIDIA's StyleGAN3 releases, configuration T."""

RELEASE = {
    "num_layers": 14,
    "num_critical": 2,
    "first_cutoff": 2,
    "first_stopband": 2**2.1,
    "last_stopband_rel": 2**0.3,
    "margin_size": 10,
    "filter_size": 6,
    "lrelu_upsampling": 2,
    "conv_kernel": 3,
    "use_radial_filters": False,
}
