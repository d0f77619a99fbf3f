"""Settings of `python-bridge serve`."""

from typing import Any

import pytest

from python_bridge.settings import SettingsError
from python_bridge.transports.http.settings import hash_token, load_http_settings


@pytest.mark.req("RT-1", "NFR2.2.2")
@pytest.mark.parametrize(
    ("given", "environ", "message"),
    [
        ({"timeout": float("nan")}, {}, "timeout is nan"),
        ({"timeout": 0.0}, {}, "timeout is 0"),
        ({"timeout": float("inf")}, {}, "at most 86400 seconds"),
        ({"rate": -1.0}, {}, "rate is -1"),
        ({"rate": float("nan")}, {}, "rate is nan"),
        ({}, {"API_TOKEN_HASHES": " , "}, "API_TOKEN_HASHES holds no hash"),
        ({}, {"SECRET_KEY": " \n"}, "nothing but white space"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(given: dict[str, Any], environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_http_settings(given, environ)


@pytest.mark.req("EX-12", "RT-1")
def test_tokens_are_taken_as_files_and_tools_write_them() -> None:
    settings = load_http_settings({}, {"SECRET_KEY": "s3cret\n", "API_TOKEN_HASHES": hash_token("a").upper()})
    assert settings.token_hashes == (hash_token("a"), hash_token("s3cret"))
