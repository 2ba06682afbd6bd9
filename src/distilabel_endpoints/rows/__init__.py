"""Conversations in, results out: every input and output format, as streams.

`open_rows` reads, `ConversationSpec` turns rows into conversations, `open_writer` writes rows and
their results. Memory does not grow with the number of rows. pyarrow, datasets and jinja2 are
loaded only if a format or a template needs them.
"""

from distilabel_endpoints.rows.columns import OutputColumns
from distilabel_endpoints.rows.model import (
    BadReason,
    BadRow,
    FileIdentity,
    Place,
    Row,
    RowSource,
)
from distilabel_endpoints.rows.output import check_output, default_output, open_writer
from distilabel_endpoints.rows.prompts import Conversations, ConversationSpec, PreparedRow
from distilabel_endpoints.rows.read_back import to_dataset, to_pandas
from distilabel_endpoints.rows.sources import open_rows
from distilabel_endpoints.rows.writers import ResultWriter

__all__ = [
    "BadReason",
    "BadRow",
    "ConversationSpec",
    "Conversations",
    "FileIdentity",
    "OutputColumns",
    "Place",
    "PreparedRow",
    "ResultWriter",
    "Row",
    "RowSource",
    "check_output",
    "default_output",
    "open_rows",
    "open_writer",
    "to_dataset",
    "to_pandas",
]
