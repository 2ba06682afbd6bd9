"""Looking at a run: a page of what went in and out, two runs side by side, rows in a terminal.

Reads journals, shards, inputs and histories; writes nothing but the page, and loads no model.
"""

from distilabel_endpoints.report.writing import write_comparison, write_report

__all__ = ["write_comparison", "write_report"]
