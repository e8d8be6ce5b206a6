"""Root conftest: `pytester` for the tests of the plugin itself. The plugin loads by its entry point."""

pytest_plugins = ["pytester"]
