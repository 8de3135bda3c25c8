"""A small OpenID Connect provider on loopback: discovery, a choice of accounts, code with PKCE, signed id tokens.

It asks of its one client what a strict provider asks, and refuses otherwise with 400.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Callable, Mapping
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey

from dimwatch.clock import NS_PER_SECOND, SystemClock

CLIENT = "dimwatch"
SECRET = "known to both"
_ALGORITHM = "ES256"
_LIFETIME_S = 300


class Provider:
    """Serves while the `with` block runs. `people`: claims by the name of the account that one chooses."""

    def __init__(self, people: Mapping[str, Mapping[str, object]], redirect_uri: str) -> None:
        self.forge = False
        """Sign with a key that is not told, as somebody would who only pretends to be this provider."""
        self.refusals: list[str] = []
        self._people = people
        self._redirect_uri = redirect_uri
        self._key = ECKey.generate_key("P-256", {"kid": "told", "use": "sig"})
        self._codes: dict[str, dict[str, str]] = {}
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = urlsplit(self.path)
                provider._answer(self, asked.path, _fields(asked.query))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                provider._answer(
                    self, self.path, _fields(body) | {"authorization": self.headers["authorization"] or ""}
                )

            def log_message(self, format: str, *args: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler, path: str, asked: dict[str, str]) -> None:
        pages: dict[str, Callable[[dict[str, str]], dict[str, object] | str]] = {
            "/.well-known/openid-configuration": self._configuration,
            "/authorize": self._authorize,
            "/token": self._token,
            "/jwks": self._keys,
        }
        if path not in pages:  # a browser asks for an icon
            return _send(handler, 404, "text/plain", "")
        try:
            told = pages[path](asked)
        except (AssertionError, KeyError) as refused:
            self.refusals.append(f"{path}: {refused}")
            return _send(handler, 400, "application/json", json.dumps({"error": "invalid_request"}))
        kind = "text/html" if isinstance(told, str) else "application/json"
        return _send(handler, 200, kind, told if isinstance(told, str) else json.dumps(told))

    def _configuration(self, _asked: dict[str, str]) -> dict[str, object]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [_ALGORITHM],
            "code_challenge_methods_supported": ["S256"],
        }

    def _keys(self, _asked: dict[str, str]) -> dict[str, object]:
        return {"keys": [self._key.as_dict(private=False)]}

    def _authorize(self, asked: dict[str, str]) -> str:
        """The page on which somebody chooses an account."""
        assert asked["client_id"] == CLIENT
        assert asked["redirect_uri"] == self._redirect_uri, "nobody is sent to a foreign address"
        assert asked["response_type"] == "code"
        assert {"openid", "email"} <= set(asked["scope"].split())
        assert asked["code_challenge_method"] == "S256"
        links = ""
        for account in self._people:
            code = secrets.token_hex(8)
            self._codes[code] = asked | {"account": account}
            back = urlencode({"code": code, "state": asked["state"]})
            links += f'<p><a href="{escape(self._redirect_uri)}?{escape(back)}">{escape(account)}</a></p>'
        return f"<title>Accounts</title>{links}"

    def _token(self, asked: dict[str, str]) -> dict[str, object]:
        known = self._codes.pop(asked["code"])  # once
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        assert asked["authorization"] == f"Basic {basic}"
        assert asked["grant_type"] == "authorization_code"
        assert asked["redirect_uri"] == self._redirect_uri
        hashed = hashlib.sha256(asked["code_verifier"].encode()).digest()
        assert base64.urlsafe_b64encode(hashed).decode().rstrip("=") == known["code_challenge"]
        now_s = SystemClock().now_ns() // NS_PER_SECOND
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": known["account"],
            "iat": now_s,
            "exp": now_s + _LIFETIME_S,
            "nonce": known["nonce"],
            **self._people[known["account"]],
        }
        key = ECKey.generate_key("P-256") if self.forge else self._key
        signed = jwt.encode({"alg": _ALGORITHM, "kid": "told"}, claims, key)
        return {"access_token": secrets.token_hex(8), "token_type": "Bearer", "id_token": signed}


def _fields(query: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(query).items()}


def _send(handler: BaseHTTPRequestHandler, status: int, kind: str, told: str) -> None:
    body = told.encode()
    handler.send_response(status)
    handler.send_header("content-type", f"{kind}; charset=utf-8")
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
