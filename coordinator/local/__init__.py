"""A whole federation on one machine: processes, progress, report."""
