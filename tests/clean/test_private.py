from __future__ import annotations

import pytest

from genus.clean.private import Card, Email, Iban, Ip, Phone, luhn
from genus.clean.rule import Mask, Span, apart, replaced
from genus.clean.secrets import Secret, entropy

RULES: dict[str, Mask] = {rule.name: rule for rule in (Email(), Phone(), Card(), Iban(), Ip(), Secret())}

FOUND = [
    ("email", "jo.doe+x@ex-ample.co.uk", ""),
    ("email", "mailto:bob@site.com", "mailto:"),
    ("phone", "+1 415 555 2671", ""),
    ("phone", "(415) 555-2671", ""),
    ("phone", "555-123-4567", ""),
    ("phone", "+44 20 7946 0958", ""),
    ("phone", "tel: 030 901820", "tel: "),
    ("card", "4111 1111 1111 1111", ""),
    ("card", "378282246310005", ""),
    ("card", "4012-8888-8888-1881", ""),
    ("iban", "DE89 3704 0044 0532 0130 00", ""),
    ("iban", "GB82WEST12345698765432", ""),
    ("ip", "203.0.113.77", ""),
    ("ip", "2001:db8:1fd2::b9d3:d5bd", ""),
    ("ip", "2001:db8:85a3::8a2e:370:7334", ""),
    ("secret", "AKIAIOSFODNN7EXAMPLE", ""),
    ("secret", "ghp_16C7e42F292c6912E7710c838347Ae178B4a", ""),
    ("secret", "xoxb-123456789012-abcdefGHIJ", ""),
    ("secret", "password = 'hunter2isN0tsafe'", "password = ''"),
    ("secret", 'API_KEY: "a8f5f167f44f4964e6c998dee827110c"', 'API_KEY: ""'),
    ("secret", "DB_PASSWORD=S3cure!Pass9word", "DB_PASSWORD="),
    ("secret", "postgres://bob:s3cr3tpw@db.host/x", "postgres://bob:@db.host/x"),
    (
        "secret",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7bq3k2n1\n" + "aB3" * 20 + "\n-----END RSA PRIVATE KEY-----",
        "",
    ),
]
LEFT = [
    ("email", "@decorator"),
    ("email", "user@localhost"),
    ("phone", "2020-01-02 12:30"),
    ("phone", "384 768 1536"),
    ("phone", "ISBN 978-3-16-148410-0"),
    ("phone", "doi 10.1145/3292500.3330701"),
    ("phone", "h * 69069 + 907133923"),
    ("card", "4111 1111 1111 1112"),
    ("card", "4503599627370496.5"),
    ("iban", "DE89 3704 0044 0532 0130 01"),
    ("ip", "version 1.2.3.14"),
    ("ip", "127.0.0.1"),
    ("ip", "1.3.6.1.4.1"),
    ("ip", "256.1.1.1"),
    ("ip", "std::vector<int> a[1::2] 12:30:45"),
    ("secret", "token = get_token(request)"),
    ("secret", "api_key = os.environ['API_KEY']"),
    ("secret", "auth = requests.auth.HTTPBasicAuth"),
    ("secret", "password = 'your_password1'"),
    ("secret", "HASHERS_PASSWORD = 'django.contrib.auth.hashers.PBKDF2'"),
    ("secret", "the secret: nobody knows it"),
]


@pytest.mark.parametrize(("rule", "text", "rest"), FOUND)
def test_masked_and_nothing_else(rule: str, text: str, rest: str) -> None:
    for before, after in (("", ""), ("see ", " and so on"), ("(", ")."), ("\n", "\n")):
        whole = before + text + after
        said = replaced(whole, RULES[rule].spans(whole))
        mark = f"<{rule.upper()}>"
        assert said.count(mark) == 1
        assert said.replace(mark, "") == before + rest + after


@pytest.mark.parametrize(("rule", "text"), LEFT)
def test_left_as_it_is(rule: str, text: str) -> None:
    assert RULES[rule].spans(text) == []


def test_two_phones_in_one_line() -> None:
    text = "415-555-2671 212-555-1234"
    assert replaced(text, Phone().spans(text)) == "<PHONE> <PHONE>"


def test_an_iban_ends_where_its_country_says() -> None:
    text = "NL91 ABNA 0417 1643 00 BIC ABNANL2A"
    assert replaced(text, Iban().spans(text)) == "<IBAN> BIC ABNANL2A"


def test_a_number_may_follow_a_card() -> None:
    text = "card 5576 4913 1737 8531 1, twice"
    assert replaced(text, Card().spans(text)) == "card <CARD> 1, twice"


def test_a_random_value_is_told_from_a_name() -> None:
    assert Secret().spans("API_KEY=NNXIQOtXbbXJ8cMLpcDhvgDjeJYq\n")
    assert not Secret().spans("secret = previous_round_secret2\n")
    assert not Secret().spans("token = WhitespaceTokenizerVersion2\n")


def test_numbers_of_a_drawing_are_no_address() -> None:
    assert not Ip().spans("m4.3 2.1 12.17.16.3 1.1")
    assert len(Ip().spans("921 10.12.13.14 10.12.13.15")) == 2


def test_luhn() -> None:
    assert [luhn(f"7992739871{d}") for d in range(10)] == [d == 3 for d in range(10)]


def test_what_one_rule_masked_the_next_does_not() -> None:
    mine = [Span(0, 5, "A"), Span(20, 30, "A")]
    assert apart([Span(4, 8, "B"), Span(5, 9, "B"), Span(25, 26, "B"), Span(31, 33, "B")], mine) == [
        Span(5, 9, "B"),
        Span(31, 33, "B"),
    ]


def test_entropy() -> None:
    assert entropy("aaaa") == 0
    assert entropy("abcd" * 4) == 2
