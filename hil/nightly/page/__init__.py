"""The page of a night: one self-contained HTML file for each night and an index. Described in docs/nightly.md."""
