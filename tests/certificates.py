"""Certificates for tests, made where they run."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.needs import program


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is signed by itself, and its key."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    openssl = program("openssl", remedy="apt-get install openssl")
    command = "req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:P-256"
    command += f" -subj /CN={name} -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {cert}"
    subprocess.run([openssl, *command.split()], check=True, capture_output=True)
    return cert, key
