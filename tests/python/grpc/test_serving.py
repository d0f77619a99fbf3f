"""Where gRPC is served and to whom: sockets, TLS, addresses that are refused."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_health.v1 import health_pb2, health_pb2_grpc
from links import TOKEN, listening

from python_bridge._proto import bridge_pb2 as pb
from python_bridge._proto.bridge_pb2_grpc import BridgeStub
from python_bridge.services.dispatch import Dispatcher
from python_bridge.settings import Settings, SettingsError
from python_bridge.transports.grpc.access import credentials
from python_bridge.transports.grpc.server import GrpcServer

pytestmark = pytest.mark.anyio
ECHO = pb.CallRequest(method="echo", params=pb.Payload(data=b'{"value":1}'))
METADATA = (("authorization", f"Bearer {TOKEN}"),)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    folder = tmp_path_factory.mktemp("tls")
    cert, key_file = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
    return cert, key_file


async def test_a_unix_socket_is_its_owners_alone_and_goes_with_the_worker(tmp_path: Path) -> None:
    path = tmp_path / "g.sock"
    async with listening(f"grpc:unix:{path}", {}) as (process, address):
        assert address == f"grpc:unix:{path}"
        assert path.stat().st_mode & 0o777 == 0o600
        async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
            assert (await BridgeStub(channel).Call(ECHO)).result.data == b'{"value":1}'
        process.signal(15)
        assert await process.exited == 0
        assert not path.exists()


async def test_tls_with_clients_certificates_takes_nobody_without_one(certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    settings = {"grpc_tls_cert": cert, "grpc_tls_key": key, "grpc_tls_client_ca": cert}
    own = grpc.ssl_channel_credentials(cert.read_bytes(), key.read_bytes(), cert.read_bytes())
    stranger = grpc.ssl_channel_credentials(cert.read_bytes())
    async with listening("grpc:localhost:0", settings) as (_, address):
        target = address.removeprefix("grpc:")
        async with grpc.aio.secure_channel(target, own) as channel:
            assert (await BridgeStub(channel).Call(ECHO)).result.data == b'{"value":1}'
        for other in (grpc.aio.secure_channel(target, stranger), grpc.aio.insecure_channel(target)):
            async with other as channel:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"listen": "grpc:127.0.0.1:0"}, "token"),
        ({"listen": "grpc:0.0.0.0:0", "token": "t"}, "TLS"),
        ({"listen": "grpc:here", "token": "t"}, "address"),
        ({"listen": "grpc:127.0.0.1:99999", "token": "t"}, "address"),
        ({"listen": "grpc:unix:/no/such/folder/g.sock"}, "cannot listen"),
        ({"listen": "grpc:127.0.0.1:0", "grpc_tls_key": "k"}, "grpc_tls_cert"),
        ({"listen": "grpc:127.0.0.1:0", "grpc_tls_cert": "c"}, "grpc_tls_key"),
        ({"listen": "grpc:127.0.0.1:0", "grpc_tls_cert": "/no/c", "grpc_tls_key": "/no/k"}, "cannot be read"),
    ],
)
async def test_an_address_that_cannot_be_served_is_refused_by_name(settings: dict[str, Any], told: str) -> None:
    server = GrpcServer(Dispatcher({}, Settings(**settings)))
    with pytest.raises(SettingsError, match=told):
        await server.start()
    await server.stop()


async def test_a_file_that_is_in_the_way_of_a_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("text")
    server = GrpcServer(Dispatcher({}, Settings(listen=f"grpc:unix:{path}")))
    with pytest.raises(SettingsError, match="a file that is no socket"):
        await server.start()
    await server.stop()
    assert path.read_text() == "text"


def test_without_certificates_there_is_no_tls() -> None:
    assert credentials(Settings()) is None
