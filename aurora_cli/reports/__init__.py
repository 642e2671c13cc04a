"""Pages of HTML: charts, tables, the report of a run."""
