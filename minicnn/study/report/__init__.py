"""The report of a study: one self-contained HTML file."""

from minicnn.study.report.page import render, write_report

__all__ = ["render", "write_report"]
