"""Certificates of a city made with openssl, and a Mosquitto with the rendered configuration that asks for them."""

from __future__ import annotations

import getpass
import shutil
import subprocess
import sys
from pathlib import Path

from tests.mqtt_probe import DEADLINE_S, accepts, free_port, wait_until

QUEUED = 20
INFLIGHT = 10


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


def make_authority(folder: Path, name: str) -> None:
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(
        folder,
        "req",
        "-x509",
        *curve,
        "-days",
        "2",
        "-subj",
        f"/CN={name}",
        "-keyout",
        f"{name}.key",
        "-out",
        f"{name}.pem",
    )


def make_certificate(folder: Path, authority: str, common_name: str, file_name: str) -> None:
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    request = f"{file_name}.csr"
    openssl(folder, "req", *curve, "-subj", f"/CN={common_name}", "-keyout", f"{file_name}.key", "-out", request)
    (folder / "extensions").write_text("subjectAltName=IP:127.0.0.1\n")
    signer = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial", "-days", "2")
    openssl(folder, "x509", "-req", "-in", request, *signer, "-extfile", "extensions", "-out", f"{file_name}.pem")


def revoke(folder: Path, authority: str, file_name: str) -> None:
    """Makes `<authority>.crl`, which names one certificate."""
    (folder / "index").touch()
    (folder / "ca.cnf").write_text(
        "[ca]\ndefault_ca = city\n[city]\ndatabase = index\ndefault_md = sha256\ndefault_crl_days = 2\n"
    )
    signer = ("-config", "ca.cnf", "-cert", f"{authority}.pem", "-keyfile", f"{authority}.key")
    openssl(folder, "ca", *signer, "-revoke", f"{file_name}.pem")
    openssl(folder, "ca", *signer, "-gencrl", "-out", f"{authority}.crl")


def make_expired(folder: Path, authority: str, file_name: str) -> None:
    """A second certificate for the same request, that ended in 2020: `<file_name>-expired`."""
    (folder / "expired-index").touch()
    (folder / "expired.cnf").write_text(
        "[ca]\ndefault_ca = city\n[city]\ndatabase = expired-index\nnew_certs_dir = .\nserial = expired-serial\n"
        "default_md = sha256\npolicy = any\nunique_subject = no\n[any]\ncommonName = supplied\n"
        "[own]\nsubjectAltName = IP:127.0.0.1\n"
    )
    signer = ("-config", "expired.cnf", "-cert", f"{authority}.pem", "-keyfile", f"{authority}.key", "-create_serial")
    dates = ("-startdate", "20200101000000Z", "-enddate", "20200102000000Z")
    files = ("-in", f"{file_name}.csr", "-out", f"{file_name}-expired.pem")
    openssl(folder, "ca", "-batch", "-notext", *signer, "-extensions", "own", *dates, *files)
    shutil.copy(folder / f"{file_name}.key", folder / f"{file_name}-expired.key")


class TlsBroker:
    """A Mosquitto with the rendered configuration; it can be killed and started again."""

    def __init__(self, folder: Path, certificates: Path, *, are_enrolled: bool, own: str = "broker") -> None:
        self.folder, self.certificates = folder, certificates
        self.port = free_port()
        (folder / "kept").mkdir()
        description = folder / "broker.toml"
        description.write_text(
            f'run_as = "{getpass.getuser()}"\nare_gateways_enrolled = {str(are_enrolled).lower()}\n'
            f"[listener]\nport = {free_port()}\n"
            f'[tls_listener]\nhost = "127.0.0.1"\nport = {self.port}\nclient_ca_file = "{certificates}/city.pem"\n'
            f'certificate_file = "{certificates}/{own}.pem"\nkey_file = "{certificates}/{own}.key"\n'
            f'revoked_file = "{certificates}/city.crl"\n'
            f"[limits]\nmax_queued_messages = {QUEUED}\nmax_inflight_messages = {INFLIGHT}\n"
            '[persistence]\ndirectory = "kept"\n[[host]]\n'
            '[[gateway]]\ngateway_id = "gw-1"\ndistrict_id = "harbour"\n'
            '[[gateway]]\ngateway_id = "gw-2"\ndistrict_id = "harbour"\n'
        )
        command = [sys.executable, "-m", "broker_config.cli", "render", "--kind", "mosquitto"]
        subprocess.run([*command, "--config", description, "--out", folder], check=True, timeout=60)

    def start(self) -> None:
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen([program, "-c", self.folder / "mosquitto.conf"], stdout=log, stderr=log)
        wait_until("mosquitto listens", lambda: accepts(self.port) or self.process.poll() is not None)
        assert self.process.poll() is None, (self.folder / "log").read_text()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(DEADLINE_S)
