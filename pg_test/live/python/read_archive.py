"""Runs a query of DuckDB and prints a line a row, values between |, NULL as ∅."""

import sys

import duckdb

for row in duckdb.sql(sys.argv[1]).fetchall():
    print("|".join("∅" if value is None else str(value) for value in row))
