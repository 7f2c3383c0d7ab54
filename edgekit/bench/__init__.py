"""Measures bundles on this machine's CPU: quality lost, latency, throughput, load time, memory, size.

`benchmark.plan_benchmark` and `benchmark.run_benchmark` do the work; `report` renders it. Each bundle runs in a process
of its own (`worker`), which imports nothing of what measures it.
"""
