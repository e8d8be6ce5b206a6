"""Nights: unattended runs over hours, their history, and the page that tells of them."""
