"""Makes ``pytest checks/`` the verifier: without this plugin the checks are only functions."""

pytest_plugins = ("postflight.plugin",)
