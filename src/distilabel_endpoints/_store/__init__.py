"""Where results are kept: durable, owner-only, one writer at a time.

- `journal/`: the log of a run beside its output. `lock`: one writer. `atomic`: whole or not at all.
- `store`: what both stores report of a run. `history`: how it went, for its report.
- `control`: what `tune` asks of a run.
- `place`: where a journal lies, and what must be true of that place.
"""
