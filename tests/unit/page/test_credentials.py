"""Whose rights a request has, and for which names the page answers."""

import pytest

from onnxmodel_page.credentials import Auth, NoTokenError, is_expected, token_of


@pytest.mark.parametrize("header", ["Bearer abc.d-e_f~g+h/i==", "bearer abc.d-e_f~g+h/i=="])
def test_a_users_token_is_passed_on(header):
    assert token_of(Auth.USER, [header]) == "abc.d-e_f~g+h/i=="


@pytest.mark.parametrize(
    "headers", [[], ["Basic dXNlcg=="], ["Bearer "], ["Bearer a b"], ["Bearer a\r\nImpersonate-User: root"],
                ["Bearer a", "Bearer b"], ["Bearer a, Bearer b"], ["a"]]
)  # fmt: skip
def test_without_one_token_there_is_an_error_and_never_another_right(headers):
    with pytest.raises(NoTokenError):
        token_of(Auth.USER, headers)


@pytest.mark.parametrize("headers", [[], ["Bearer users-token"], ["nonsense"]])
def test_a_page_with_an_account_ignores_tokens(headers):
    assert token_of(Auth.SERVICE_ACCOUNT, headers) == ""


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("localhost:8080", True),
        ("127.0.0.1:8080", True),
        ("10.1.2.3", True),
        ("[::1]:8080", True),
        ("models.example.com", True),
        ("MODELS.example.com:443", True),
        ("evil.example.com", False),
        ("localhost.evil.example.com", False),
        ("models.example.com.evil.org", False),
        ("", False),
    ],
)
def test_other_names_are_not_answered(host, expected):
    assert is_expected(host, ["models.example.com"]) is expected
