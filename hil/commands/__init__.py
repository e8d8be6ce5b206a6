"""What the verbs of the `hil` command do and print."""
