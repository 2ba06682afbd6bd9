"""How many requests at once, and how many a minute. Pure: the time is an argument.

- `limiter`: the permits, their settings and their statistics; what the scheduler asks.
- `search`: finds the limit by goodput. `refusals`: what a 429 means.
- `quotas`: rates that the user or the server sets. `availability`: while nothing answers.
"""
