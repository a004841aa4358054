"""The SDK's version, which goes into the User-Agent and the distribution."""

__version__ = "0.1.0"
