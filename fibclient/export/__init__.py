"""Bulk export: a range of numbers as files of known size, with a manifest.

An export is split into parts, each a file that depends on its range and format alone. So parts can
be written in any order, by threads or by the workers of a Dask cluster, and again after a crash.
Files are written to a local folder, or with fsspec to any storage that it supports.
"""
