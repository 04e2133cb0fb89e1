"""Benchmarks: `make bench` prints figures, their ratio to a floor, and writes build/bench.json.

Belongs here: measuring. Nothing here asserts: a machine is never as fast as the last one.
"""
