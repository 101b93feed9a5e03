"""The page's template, style and script."""

INDEX = "index.html"
"""The page's file in a report's folder."""
