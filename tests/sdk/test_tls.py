"""Over TLS: a bridge that can't prove who it is never sees the token."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sql_databricks_bridge_sdk import BridgeUnreachable
from tests.sdk.conftest import Connect
from tests.sdk.small_bridge import SmallBridge, serving


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "small bridge")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "bridge.pem"
    pem, raw, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(signed.public_bytes(pem) + key.private_bytes(pem, raw, plain))
    return file


def test_a_certificate_is_trusted_by_name_or_not_at_all(certificate: Path, connect: Connect) -> None:
    """And a refused one is not asked again: that can't help."""
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(certificate)
    small = SmallBridge()
    with serving(small, tls=ours) as url:
        with pytest.raises(BridgeUnreachable, match=r"CERTIFICATE_VERIFY_FAILED.* Pass ssl_context=") as caught:
            connect(url, retries=50).version()
        assert not caught.value.temporary
        assert small.seen == []
        trusting = connect(url, ssl_context=ssl.create_default_context(cafile=str(certificate)))
        assert trusting.version() == "9.9"
