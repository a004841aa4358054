"""What can go wrong on the wire itself, as opposed to in a statement."""

from __future__ import annotations


class WireError(Exception):
    """Ends this connection, never the server."""


class MalformedError(WireError):
    """The bytes break the protocol: a length that runs past its packet, an unknown packet type, a bad offset."""


class TruncatedError(MalformedError):
    """The bytes end too early: malformed in a whole message, and in a stream a reason to wait for more."""


class DisconnectedError(WireError):
    """The peer is gone, or this side has hung up."""


class AttentionError(Exception):
    """The client has cancelled the request that is being read (not a fault: an answer is due)."""
