"""One board: its channel, boot, text, baud and words."""
