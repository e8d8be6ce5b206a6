"""One board: its channel, how it boots, its text, its baud, its words."""
