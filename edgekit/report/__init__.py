"""What a comparison says, for readers: a verdict in sentences, a page, tables, a picture.

In: an `edgekit.bench.comparison.TaskComparison`, and nothing else. Each form is a file: `page` (HTML), `picture` (SVG),
`terminal`, `markdown`, `csv_table`; JSON is `edgekit.bench.comparison.to_json`. Nothing is measured here.
"""
