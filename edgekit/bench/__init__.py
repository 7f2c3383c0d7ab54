"""Measures bundles on this machine's CPU: quality lost, latency, throughput, load time, memory, size.

Three kinds of benchmark, each a module that plans and one that runs: of translation (`benchmark`, `measure`), of text
generation (`text_benchmark`, `text_quality`, `text_speed`), and of models of both kinds on one task (`tasks`,
`prompts`, `task_benchmark`, `task_rounds`; its results are `comparison`). `report` and `table` render the first two,
`edgekit.report` the third, `report_change` compares two reports. Each bundle runs in a process of its own (`worker`),
which imports nothing of what measures it.
"""
