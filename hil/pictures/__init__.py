"""Pictures: SVG and WaveJSON of what was seen."""
