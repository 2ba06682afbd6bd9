"""A dataset in, a dataset out, interrupted as often as you like.

options.py    what a run is        runner.py    one process's part in it
scan.py       the first look       planning.py  rows to plans
export.py     the output           spool.py     rows that come only once
meter.py      counts, snapshots    stopping.py  Ctrl-C and SIGTERM
heap.py       memory given back
publishing.py the output as a dataset on the Hub
status.py     looking at a run from outside
"""

from distilabel_endpoints.runs.dataset import generate_dataset
from distilabel_endpoints.runs.options import RunOptions
from distilabel_endpoints.runs.status import RunStatus, export_run, read_status

__all__ = ["RunOptions", "RunStatus", "export_run", "generate_dataset", "read_status"]
