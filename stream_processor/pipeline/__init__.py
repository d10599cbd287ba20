"""The pipeline: quality control → scores → alarm conditions, pure functions over columns."""
