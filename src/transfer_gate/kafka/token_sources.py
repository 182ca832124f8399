"""Where tokens to log in to Kafka with come from: an OpenID Connect provider, or the credentials of AWS."""

import base64
import contextlib
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from functools import cache
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from transfer_gate.errors import InvalidInput
from transfer_gate.kafka.access import in_words, secret_of, trusting
from transfer_gate.kafka.tokens import Token, TokenProvider, TokenUnavailable, claims_of
from transfer_gate.settings import PREFIX, Settings

#: How long a token server may take for each step of its answer, seconds.
STEP_SECONDS: Final = 5.0
#: RFC 6749 leaves `expires_in` out where the server documents a lifetime; assumed of a token without one, seconds.
UNKNOWN_LIFETIME: Final = 300.0
#: What a token server's answer may hold, bytes.
_ANSWER_BYTES: Final = 256 << 10
#: Error codes of RFC 6749, section 5.2, are made of these.
_CODE: Final = frozenset("abcdefghijklmnopqrstuvwxyz_")


class _ClientRefused(TokenUnavailable):
    """The token server does not take id and secret."""


class OAuthClient(NamedTuple):
    """An OAuth 2.0 client of a token server (RFC 6749, section 4.4), which shows id and secret as HTTP Basic.

    Files are read at every fetch, so that a secret that was replaced is used from the next token on.
    """

    token_url: str
    client_id: str
    secret_file: Path
    scope: str
    audience: str
    cafile: Path | None
    shown: tuple[tuple[str, str], ...]

    @property
    def subject(self) -> str:
        """See TokenSource."""
        return f"client {self.client_id}"

    @property
    def extensions(self) -> Mapping[str, str]:
        """See TokenSource."""
        return dict(self.shown)

    def fetch(self) -> Token:
        """See TokenSource."""
        where = urllib.parse.urlsplit(self.token_url).netloc
        try:
            secret, tls = self.files()
        except InvalidInput as error:
            raise TokenUnavailable(error.message, do=error.do) from None
        form = {"grant_type": "client_credentials", "scope": self.scope, "audience": self.audience}
        body = urllib.parse.urlencode({name: value for name, value in form.items() if value}).encode()
        # Form-encoded before they become Basic, says RFC 6749 (section 2.3.1); some servers take them as they are. It
        # matters to a secret with other characters than letters, digits, `-`, `.`, `_` and `~`.
        encoded = ":".join(urllib.parse.quote_plus(part) for part in (self.client_id, secret))
        *others, last = dict.fromkeys((encoded, f"{self.client_id}:{secret}"))
        for pair in others:
            with contextlib.suppress(_ClientRefused):
                return self._ask(pair, body, tls, where)
        return self._ask(last, body, tls, where)

    def _ask(self, pair: str, body: bytes, tls: ssl.SSLContext, where: str) -> Token:
        basic = base64.b64encode(pair.encode()).decode()
        request = urllib.request.Request(  # noqa: S310 - settings take https, and http to this machine
            self.token_url, body, {"Accept": "application/json", "Authorization": f"Basic {basic}"}
        )
        opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=tls))
        try:
            with opener.open(request, timeout=STEP_SECONDS) as response:
                return _answered(response.read(_ANSWER_BYTES), where)
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(self.subject, where, error.code, error.read(_ANSWER_BYTES)) from None
        except (OSError, HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            why = in_words(reason, STEP_SECONDS) if isinstance(reason, Exception) else type(error).__name__
            raise TokenUnavailable(
                f"the token server {where} does not answer: {why}",
                do=f"check {PREFIX}SASL_OAUTH_TOKEN_URL and {PREFIX}SASL_OAUTH_CAFILE, or look at that server",
            ) from None

    def files(self) -> tuple[str, ssl.SSLContext]:
        """The secret, and how to talk to the token server. Raises InvalidInput."""
        secret = secret_of(self.secret_file, "SASL_OAUTH_CLIENT_SECRET_FILE")
        return secret, trusting(self.cafile, "SASL_OAUTH_CAFILE")


class MskSigner(NamedTuple):
    """Amazon MSK with IAM: a signed request of AWS's credentials chain, which is the token. Needs `[msk]`."""

    region: str

    @property
    def subject(self) -> str:
        """See TokenSource."""
        return "the AWS identity"

    @property
    def extensions(self) -> Mapping[str, str]:
        """See TokenSource."""
        return {}

    def fetch(self) -> Token:
        """See TokenSource."""
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider

        do = "give the process a role that may connect (kafka-cluster:Connect), or credentials of the AWS chain"
        try:
            token, expires_ms = MSKAuthTokenProvider.generate_auth_token(self.region)
        except Exception as error:  # noqa: BLE001 - botocore's errors have no common base but this; some name a profile
            raise TokenUnavailable(f"AWS gives no credentials: {type(error).__name__}", do=do) from None
        return Token(token, max(0.0, expires_ms / 1000 - time.time()))


def provider_of(settings: Settings) -> TokenProvider:
    """The provider that all clients of this process share. Raises InvalidInput when its files can't be used, or the
    library of MSK is not installed.
    """
    if settings.sasl_mechanism == "AWS_MSK_IAM":
        if find_spec("aws_msk_iam_sasl_signer") is None:
            raise InvalidInput(
                "AWS_MSK_IAM needs the library aws-msk-iam-sasl-signer-python", do="pip install 'transfer-gate[msk]'"
            )
        return _shared(MskSigner(settings.sasl_aws_region or ""))
    url, client = settings.sasl_oauth_token_url, settings.sasl_oauth_client_id
    file = settings.sasl_oauth_client_secret_file
    if url is None or client is None or file is None:
        raise InvalidInput(
            "OAUTHBEARER without token endpoint, client or secret",
            do=f"set {PREFIX}SASL_OAUTH_TOKEN_URL, {PREFIX}SASL_OAUTH_CLIENT_ID and "
            f"{PREFIX}SASL_OAUTH_CLIENT_SECRET_FILE",
        )
    source = OAuthClient(
        token_url=url,
        client_id=client,
        secret_file=file,
        scope=settings.sasl_oauth_scope,
        audience=settings.sasl_oauth_audience,
        cafile=settings.sasl_oauth_cafile,
        shown=tuple(settings.oauth_extensions.items()),
    )
    source.files()
    return _shared(source)


@cache
def _shared(source: OAuthClient | MskSigner) -> TokenProvider:
    return TokenProvider(source)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The secret goes to the server of the settings and to no other."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none: the redirection is an error."""


class _Answer(msgspec.Struct):
    """What counts of a token server's answer (RFC 6749, section 5.1)."""

    access_token: str
    expires_in: float | None = None


def _answered(body: bytes, where: str) -> Token:
    try:
        # Some servers write the number as text.
        answer = msgspec.json.decode(body, type=_Answer, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        answer = _Answer("")
    # A token goes into a line of RFC 6750's alphabet; anything else would end it.
    if not answer.access_token or not answer.access_token.isascii() or not answer.access_token.isprintable():
        raise TokenUnavailable(
            f"the token server {where} answers without a token", do=f"check {PREFIX}SASL_OAUTH_TOKEN_URL"
        )
    lifetime = answer.expires_in
    if lifetime is None:
        expires = claims_of(answer.access_token).get("exp")
        lifetime = expires - time.time() if isinstance(expires, (int, float)) else UNKNOWN_LIFETIME
    return Token(answer.access_token, max(0.0, lifetime))


def _refusal(subject: str, where: str, status: int, body: bytes) -> TokenUnavailable:
    """Words for an error response. Its description is not repeated: it may hold what was sent."""
    try:
        code = msgspec.json.decode(body, type=dict[str, Any]).get("error")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        code = None
    named = code if isinstance(code, str) and 0 < len(code) <= 40 and _CODE.issuperset(code) else f"HTTP {status}"
    if named in ("invalid_client", "unauthorized_client") or status == 401:
        return _ClientRefused(
            f"the token server {where} refuses {subject} or its secret ({named})",
            do=f"check {PREFIX}SASL_OAUTH_CLIENT_ID and the file of {PREFIX}SASL_OAUTH_CLIENT_SECRET_FILE",
        )
    if status >= 500 or status == 429:
        return TokenUnavailable(f"the token server {where} fails ({named})", do="look at that server")
    return TokenUnavailable(
        f"the token server {where} refuses the request ({named})",
        do=f"check {PREFIX}SASL_OAUTH_TOKEN_URL, {PREFIX}SASL_OAUTH_SCOPE and {PREFIX}SASL_OAUTH_AUDIENCE",
    )
