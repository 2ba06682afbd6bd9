"""Says what to install for `distilabel.pipeline`; upstream's package of that name wins."""

raise ImportError(
    "distilabel.pipeline is part of the distribution distilabel, which is not installed: "
    'pip install "distilabel-endpoints[pipeline]"'
)
