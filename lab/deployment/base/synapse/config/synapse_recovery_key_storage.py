"""A stand-in for the module that hands users' recovery keys to the key vault. It takes what that one is configured with,
and refuses to load without it; it hands nothing over, as clients would have to be changed for that."""

from urllib.parse import urlsplit


class RecoveryKeyStorageModule:
    @staticmethod
    def parse_config(config):
        if not urlsplit(str(config.get("backend_url"))).hostname:
            raise ValueError("backend_url must be the address of the key vault")
        if not config.get("api_key"):
            raise ValueError("api_key is missing")
        return config

    def __init__(self, config, api):
        self.where, self.api = config["backend_url"], api

    def __repr__(self):
        return f"recovery key storage in {self.where}"
