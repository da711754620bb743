"""Evaluation: result files, tables, published values, error types, scoring."""
