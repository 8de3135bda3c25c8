"""What is masked, what is left alone, and that a masked request is still the same request."""

from __future__ import annotations

import json

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from dimwatch.errors import InvalidError
from ingest.otlp.refusals import TooLargeError
from ingest.otlp.signals import TRACES
from ingest.redaction import MAX_CANDIDATES, Redactor

REDACTOR = Redactor()


def mask(text: str, key: str = "content") -> str:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(name="chat", trace_id=b"a" * 16)
    span.attributes.add(key=key).value.string_value = text
    span.attributes.add(key="next").value.int_value = 5
    body = request.SerializeToString()
    masked = REDACTOR.redact(body, TRACES.shape).body
    assert len(masked) == len(body)
    parsed = ExportTraceServiceRequest.FromString(masked).resource_spans[0].scope_spans[0].spans[0]
    assert [pair.key for pair in parsed.attributes] == [key, "next"]
    return parsed.attributes[0].value.string_value


SECRETS = {
    "openai": ("key sk-proj-abcDEF0123456789abcdef end", "proj-abcDEF0123456789abcdef"),
    "anthropic": ("sk-ant-api03-AbC_def-0123456789", "ant-api03-AbC_def-0123456789"),
    "aws id": ("id=AKIAIOSFODNN7EXAMPLE", "IOSFODNN7EXAMPLE"),
    "aws secret": ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI/K7MDENG"),
    "github": ("ghp_0123456789abcdefABCDEF0123456789abcd", "0123456789abcdefABCDEF0123456789abcd"),
    "slack": ("xoxb-123456789012-abcdefGHIJ", "123456789012-abcdefGHIJ"),
    "google": ("AIzaSyA0123456789abcdefghijklmnopqrstuv", "SyA0123456789abcdefghijklmnopqrstuv"),
    "huggingface": ("hf_abcdefghijKLMNOPQRST0123456789", "abcdefghijKLMNOPQRST0123456789"),
    "stripe": ("sk_live_0123456789abcdef", "0123456789abcdef"),
    "jwt": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"),
    "bearer": ("Authorization: Bearer abc.def-123456", "abc.def-123456"),
    "basic": ("authorization=Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    "url": ("postgresql://app:s3cr3t!@db:5432/x", "s3cr3t!"),
    "dsn": ("Server=db;Password=hunter2;Encrypt=yes", "hunter2"),
    "query": ("https://x.test/?api_key=abcdef12&q=1", "abcdef12"),
    "json": ('{"password": "hunter2", "n": 1}', "hunter2"),
    "flag": ("mysql --password hunter2 -h db", "hunter2"),
    "xml": ("<password>hunter2</password>", "hunter2"),
    "python": ("{'client_secret': 'hunter2'}", "hunter2"),
    "key block": ("-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----", "\nMIIEvQ\n"),
    "cut key block": ("-----BEGIN RSA PRIVATE KEY-----\nMIIEvQIBADAN", "\nMIIEvQIBADAN"),
    "e-mail": ("write to alice.b+c@mail.example.co.uk.", "alice.b+c@mail.example.co.uk"),
    "visa": ("card 4111111111111111.", "4111111111111111"),
    "visa groups": ("4111 1111 1111 1111", "4111 1111 1111 1111"),
    "amex": ("3782-822463-10005", "3782-822463-10005"),
    "iban": ("IBAN DE89 3704 0044 0532 0130 00 please", "DE89 3704 0044 0532 0130 00"),
    "iban compact": ("GB29NWBK60161331926819", "GB29NWBK60161331926819"),
    "ssn": ("SSN 123-45-6789,", "123-45-6789"),
    "phone": ("call 415-555-0132", "415-555-0132"),
    "phone area": ("call (415) 555-0132", "(415) 555-0132"),
    "phone abroad": ("call +49 30 1234567", "+49 30 1234567"),
    "after escape": (r"line\nalice@example.com", "alice@example.com"),
    "key after escape": (r"line\nsk-abcdef0123456789abcd", "abcdef0123456789abcd"),
}


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_and_personal_data_are_masked(name: str) -> None:
    text, secret = SECRETS[name]
    masked = mask(text)
    assert secret not in masked
    assert masked == text.replace(secret, "*" * len(secret))


@pytest.mark.parametrize(
    "text",
    [
        "call_abcdef0123456789ABCDEF toolu_01A09q90qw90lq917835lq9 chatcmpl-9abcdef0123456789",
        "gpt-4o-2024-08-06 claude-3-5-sonnet-20241022 claude-3-5-sonnet@20240620 gemini-2.5-pro",
        "4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7",
        "6f1c7a3e-4111-4111-8111-411111111111",
        '{"input_tokens": 1234, "max_tokens": 4096, "token": " Paris", "logprob": -0.1}',
        '{"created": 1732260000, "ms": 1732260000000, "ns": 1732260000000000000, "x": 0.4111111111111111}',
        "2024-11-22T07:26:40.123456789+00:00",
        "task-management-system-2024x disk-usage-report-20240101",
        '{"password": {"type": "string"}, "api_key": null}',
        'api_key=os.environ["OPENAI_API_KEY"] and password=get_password()',
        "def login(password: str, token: Token) -> None",
        "git@github.com:org/repo.git react@18.2.0 @decorator",
        "the secret: be kind. password: required",
        "192.168.100.200:8080 v1.2.3 1,234,567.89",
    ],
)
def test_ordinary_content_is_left_alone(text: str) -> None:
    assert mask(text) == text


@pytest.mark.parametrize("depth", range(4))
def test_a_secret_inside_nested_json_is_masked_and_the_json_still_parses(depth: int) -> None:
    value: object = {"password": 'hun"ter\\2', "mail": "\nbob@example.com\t", "n": 1}
    for _ in range(depth):
        value = {"inner": json.dumps(value), "é": "ü"}
    masked = mask(json.dumps(value))
    parsed = json.loads(masked)
    for _ in range(depth):
        parsed = json.loads(parsed["inner"])
    assert set(parsed) == {"password", "mail", "n"}
    assert set(parsed["password"]) == {"*"}
    assert parsed["mail"].strip("\n\t") == "*" * len("bob@example.com")


def test_a_card_number_that_is_a_json_number_stays_one() -> None:
    assert json.loads(mask('{"card": 4111111111111111, "n": 1}')) == {"card": 9999999999999999, "n": 1}


@pytest.mark.parametrize("key", ["db.password", "http.request.header.authorization", "x-api-key"])
def test_the_whole_value_of_an_attribute_with_a_secret_name_is_masked(key: str) -> None:
    assert mask("hunter2", key) == "*******"


def test_string_lengths_that_look_like_text_neither_hide_a_secret_nor_get_masked() -> None:
    for padding in range(1, 300):
        assert "alice" not in mask("alice@example.com" + " " * padding)
        assert "4111" not in mask("4111111111111111" + " " * padding)
        assert "0123" not in mask("sk-0123456789abcdef0123" + " " * padding)
        assert mask(" " * padding + "bob@example.com") == " " * padding + "*" * 15


def test_ids_are_never_text() -> None:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id = b"bob@example.com ", b"b@ex.com"
    body = request.SerializeToString()
    assert REDACTOR.redact(body, TRACES.shape).body == body


def test_a_request_that_would_take_too_long_is_refused() -> None:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.name = "a@b" * (MAX_CANDIDATES + 1)
    with pytest.raises(TooLargeError, match="smaller requests"):
        REDACTOR.redact(request.SerializeToString(), TRACES.shape)


def test_broken_framing_around_a_secret_is_refused() -> None:
    with pytest.raises(InvalidError):
        REDACTOR.redact(b"\x0a\x7fbob@example.com", TRACES.shape)
