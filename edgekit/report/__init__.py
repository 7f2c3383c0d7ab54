"""What a comparison says, for readers: a verdict in sentences, a page, tables, a picture.

In: an `edgekit.bench.comparison.TaskComparison`, and nothing else. Each form is a file: `page` (HTML), `picture` (SVG),
`terminal`, `markdown`, `csv_table`; JSON is `edgekit.bench.comparison.to_json`. Nothing is measured here.
"""

from edgekit.report.csv_table import to_csv
from edgekit.report.markdown import to_markdown
from edgekit.report.page import to_html
from edgekit.report.picture import to_svg
from edgekit.report.terminal import print_comparison
from edgekit.report.verdict import Verdict, reach_verdict

__all__ = ["Verdict", "print_comparison", "reach_verdict", "to_csv", "to_html", "to_markdown", "to_svg"]
