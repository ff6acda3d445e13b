"""Reports: stored tables become one summary, and that a terminal table, a page and a plot."""

from ops.reporting.examples import examples_of
from ops.reporting.page import html_page
from ops.reporting.plots import plot_png
from ops.reporting.summary import summarise
from ops.reporting.table import terminal_table

__all__ = ["examples_of", "html_page", "plot_png", "summarise", "terminal_table"]
