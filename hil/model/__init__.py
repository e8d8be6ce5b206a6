"""Model files: checkpoint, tokenizer, shards, synthetic checkpoints, SD cards. Formats: docs/formats.md."""
