"""Standard outputs of a night, beside its page: Allure, JUnit, Chrome trace, WaveJSON, JSON. See docs/nightly.md."""

from hil.nightly.outputs.files import OUTPUTS, write_outputs

__all__ = ["OUTPUTS", "write_outputs"]
