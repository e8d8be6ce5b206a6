"""Standard outputs of a night, beside its page: Allure, JUnit, Chrome trace, WaveJSON, JSON. See docs/nightly.md."""
