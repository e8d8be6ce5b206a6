"""Tests of the desk: cards, ports, locks, power, foreign images."""
