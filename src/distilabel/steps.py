"""Says what to install for `distilabel.steps`; upstream's package of that name wins."""

raise ImportError(
    "distilabel.steps is part of the distribution distilabel, which is not installed: "
    'pip install "distilabel-endpoints[pipeline]"'
)
