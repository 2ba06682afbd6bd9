"""A dataset in, a dataset out, interrupted as often as you like.

session.py    what every run does around its work      local.py       a run of one process
options.py    what a run is                            planning.py    rows to plans
scan.py       the first look                           ordering.py    the order rows are sent in
tally.py      counts and snapshots                     stopping.py    Ctrl-C, SIGTERM, SIGHUP
export.py     the output                               written.py     whether OUTPUT is the run's
finished.py   a run that is over already               kept_input.py  rows that come only once
status.py     looking at a run from outside            preview.py     --dry-run
publishing.py the output as a dataset on the Hub       heap.py        memory given back
row_callback.py the caller's function per row
"""

from distilabel_endpoints.runs.options import RunOptions
from distilabel_endpoints.runs.status import RunStatus, export_run, read_status

__all__ = ["RunOptions", "RunStatus", "export_run", "read_status"]
