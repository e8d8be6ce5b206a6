"""Reports: attachments for test reports, tables for the terminal."""
