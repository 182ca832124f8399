"""A real OAuth 2.0 token server (Authlib), over TLS, for clients with an id and a secret; its tokens are JWTs."""

import logging
import threading
from pathlib import Path
from typing import Any, Final

import flask
import trustme
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from joserfc.jwk import KeySet, RSAKey
from werkzeug.serving import BaseWSGIServer, make_server

from transfer_gate.local.loopback import LOOPBACK, free_port

AUDIENCE: Final = "kafka"
SCOPE: Final = "kafka.connect"


class Client(ClientMixin):  # type: ignore[misc]  # authlib is untyped
    """A client that the server knows."""

    def __init__(self, client_id: str, secret: str) -> None:
        self.client_id = client_id
        self.secret = secret

    def get_client_id(self) -> str:
        return self.client_id

    def get_allowed_scope(self, scope: str | None) -> str:
        return SCOPE if scope == SCOPE else ""

    def check_client_secret(self, client_secret: str) -> bool:
        return self.secret == client_secret

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return (method, endpoint) == ("client_secret_basic", "token")

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "client_credentials"


class TokenServer:
    """Listens on 127.0.0.1, on one port for good. What it issues can be changed while it runs."""

    def __init__(self, folder: Path) -> None:
        """Nothing is started. `folder` takes certificates, keys and clients' secrets."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"https://{LOOPBACK}:{self.port}/token"
        self.issuer = f"https://{LOOPBACK}:{self.port}"
        #: Seconds that the next tokens are good for; negative ones are over when they come.
        self.lifetime = 3600
        self.audience = AUDIENCE
        #: Forms of all requests that came with the right secret, in order; and how many came at all.
        self.issued: list[dict[str, str]] = []
        self.requests = 0
        self._clients: dict[str, Client] = {}
        self._key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)
        (folder / "jwks.json").write_text(flask.json.dumps(KeySet([self._key]).as_dict(private=False)))
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        issued = authority.issue_cert(LOOPBACK)
        issued.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def jwks_url(self) -> str:
        """Where its public keys are, for brokers: a file."""
        return (self.folder / "jwks.json").as_uri()

    def register(self, client_id: str, secret: str) -> Path:
        """Know a client by this secret from now on; returns a file that holds it."""
        self._clients[client_id] = Client(client_id, secret)
        file = self.folder / f"{client_id}.secret"
        file.write_text(secret + "\n", encoding="utf-8")
        file.chmod(0o600)
        return file

    def change_secret(self, client_id: str, secret: str) -> None:
        """Take only this secret from now on; the client's file stays as it is."""
        self._clients[client_id].secret = secret

    def settings(self, client_id: str) -> dict[str, Any]:
        """Settings of a registered client's login."""
        return {
            "sasl_mechanism": "OAUTHBEARER",
            "sasl_oauth_token_url": self.url,
            "sasl_oauth_client_id": client_id,
            "sasl_oauth_client_secret_file": self.folder / f"{client_id}.secret",
            "sasl_oauth_scope": SCOPE,
            "sasl_oauth_cafile": self.folder / "ca.pem",
        }

    def start(self) -> None:
        """Answer requests."""
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        pem = str(self.folder / "server.pem")
        self._server = make_server(LOOPBACK, self.port, self._app(), threaded=True, ssl_context=(pem, pem))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Go away; `start` brings it back."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def _app(self) -> flask.Flask:
        owner = self
        app = flask.Flask("token-server")
        app.config["OAUTH2_SCOPES_SUPPORTED"] = [SCOPE]

        class Generator(JWTBearerTokenGenerator):  # type: ignore[misc]  # authlib is untyped
            def get_jwks(self) -> dict[str, Any]:
                return dict(owner._key.as_dict(private=True))

            def get_audiences(self, _client: Client, _user: object, _scope: str) -> str:
                return owner.audience

        generator = Generator(self.issuer, expires_generator=lambda _client, _grant_type: self.lifetime)
        server = AuthorizationServer(
            app,
            query_client=self._clients.get,
            save_token=lambda _token, _request: self.issued.append(dict(flask.request.form)),
        )
        server.register_grant(ClientCredentialsGrant)
        server.register_token_generator("default", generator)

        @app.post("/token")
        def token() -> flask.Response:
            self.requests += 1
            response: flask.Response = server.create_token_response()
            return response

        return app
