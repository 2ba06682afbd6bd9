"""What a person or a machine sees while a run is in progress, and when it ends.

A run is folded into `RunSnapshot`s and one `RunSummary`; a `Progress` shows them. Human displays
write to stderr, events for machines to stdout. Nothing here starts a thread, reads a clock or
imports rich before a live display is opened, and no display can stop or slow a run but by the time
a write takes.
"""

from distilabel_endpoints.progress.displays import ProgressMode, open_progress
from distilabel_endpoints.progress.formatting import clip, safe_text
from distilabel_endpoints.progress.notices import showing_notices
from distilabel_endpoints.progress.sinks import Progress

__all__ = ["Progress", "ProgressMode", "clip", "open_progress", "safe_text", "showing_notices"]
