"""Configuration by flat key, and secrets that never reach the record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reprokit.capture import redact
from reprokit.capture.config import config
from reprokit.capture.redact import HIDDEN
from reprokit.errors import UsageError

FILES = {
    "a.yaml": "model:\n  depth: 3\n  rates: [0.1, 0.2]\nwhen: 2026-01-02\nempty:\n",
    "a.toml": "title = 't'\n[model]\ndepth = 3\n[[stage]]\nname = 'one'\n[[stage]]\nname = 'two'\n",
    "a.json": '{"model": {"depth": 3, "on": true}, "list": [{"x": 1}, 2], "none": null}',
    "a.ini": "[model]\ndepth = 3\nurl = https://me:pw@host/x\n%(odd)s = %x\n",
    "b.json": "5",
}
FLAT: dict[str, dict[str, Any]] = {
    "a.yaml": {"model.depth": 3, "model.rates": [0.1, 0.2], "when": "2026-01-02", "empty": None},
    "a.toml": {"title": "t", "model.depth": 3, "stage.0.name": "one", "stage.1.name": "two"},
    "a.json": {"model.depth": 3, "model.on": True, "list.0.x": 1, "list.1": 2, "none": None},
    "a.ini": {"model.depth": "3", "model.url": f"https://{HIDDEN}@host/x", "model.%(odd)s": "%x"},
    "b.json": {"value": 5},
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_becomes_flat_keys(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FILES[name])
    assert config.read(tmp_path / name) == FLAT[name]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.yaml", b"a: [1"),
        ("a.yaml", b"a: !!python/object/apply:os.system ['touch harmed']"),
        ("a.toml", b"a ="),
        ("a.json", b"{"),
        ("a.json", b"\xff"),
        ("a.ini", b"no section"),
        ("a.csv", b"x"),
        ("a.json", b" " * (config.LIMIT + 1)),
    ],
)
def test_what_is_no_configuration_is_told(
    name: str, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError) as told:
        config.read(tmp_path / name)
    assert name in str(told.value)
    assert told.value.remedy
    assert not (tmp_path / "harmed").exists()


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        config.read(tmp_path / "absent.yaml")


def test_variables_by_the_allow_list() -> None:
    environ = {"LC_ALL": "C", "LC_TIME": "x", "LANG": "de", "HOME": "/h", "MY_TOKEN": "abc", "URL": "http://u:p@h"}
    assert config.variables(["LC_*", "LANG", "MY_*", "URL"], environ) == {
        "LANG": "de",
        "LC_ALL": "C",
        "LC_TIME": "x",
        "MY_TOKEN": HIDDEN,
        "URL": f"http://{HIDDEN}@h",
    }


SECRET = (
    "password", "db.password", "db_passwd", "PASSWORD", "dbPassword", "pwd", "secret", "client_secret", "secrets.db",
    "clientSecret", "token", "api_token", "apiToken", "hf-token", "api_tokens", "access_tokens", "apikey", "api_key",
    "API-KEY", "apiKeys.prod", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "private_key", "credentials",
    "credential.user", "authorization", "auth", "cookie", "session_id", "SENTRY_DSN", "passphrase", "passwords",
    "tokens.github", "tokenizer.token",
)  # fmt: skip
PLAIN = (
    "num_tokens", "max_tokens", "maxTokens", "tokens", "n_tokens", "special_tokens", "pad_token", "eos_token",
    "max_new_tokens", "tokenizer", "keyboard", "key", "author", "authors", "path", "passes", "compass", "secretary",
    "monkey", "primary_key", "sort_key", "depth", "tokenize", "token_count", "total_tokens", "random_state", "seed",
)  # fmt: skip


@pytest.mark.parametrize("key", SECRET)
def test_secrets_are_known_by_name(key: str) -> None:
    assert redact.value(key, "abc") == HIDDEN


@pytest.mark.parametrize("key", PLAIN)
def test_other_keys_stay(key: str) -> None:
    assert redact.value(key, "abc") == "abc"


def test_secrets_inside_values() -> None:
    assert redact.value("database", {"password": "x", "hosts": [{"token": "y", "port": 1}]}) == {
        "password": HIDDEN,
        "hosts": [{"token": HIDDEN, "port": 1}],
    }
    assert redact.value("urls", ["postgres://me:pw@h/db"]) == [f"postgres://{HIDDEN}@h/db"]


def test_secrets_in_files(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "db: {password: hunter2, urls: ['s3://k:hunter2@b']}\nsecrets: {one: hunter2}\napi_tokens: [hunter2]"
    )
    values = config.read(path)
    assert "hunter2" not in str(values)
    assert set(values) == {"db.password", "db.urls", "secrets.one", "api_tokens"}


@pytest.mark.parametrize(
    "text",
    [
        "https://user:hunter2@host/x",
        "postgresql+psycopg://u:hunter2@h:5/db",
        "https://host/x?token=hunter2&page=1",
        "https://host/x?page=1&X-Amz-Signature=hunter2",
        "https://host/x?api_key=hunter2#frag",
        "connect failed: redis://:hunter2@h/0 and https://a@b",
    ],
)
def test_secrets_in_urls(text: str) -> None:
    assert "hunter2" not in redact.url(text)
    assert HIDDEN in redact.url(text)


def test_plain_urls_and_text_stay() -> None:
    for text in ("https://host/x?page=1#a", "mail me@host", "C:\\x", "", "a=b&c=d", "https://h/@scope/pkg"):
        assert redact.url(text) == text


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["x.py", "--api-key", "hunter2", "in.csv"], ("x.py", "--api-key", HIDDEN, "in.csv")),
        (["x.py", "--token=hunter2"], ("x.py", f"--token={HIDDEN}")),
        (["x.py", "--token", "--verbose"], ("x.py", "--token", "--verbose")),
        (["x.py", "https://u:hunter2@h"], ("x.py", f"https://{HIDDEN}@h")),
        (["x.py", "--max-tokens", "5"], ("x.py", "--max-tokens", "5")),
        (["x.py", "password=hunter2"], ("x.py", f"password={HIDDEN}")),
        ([], ()),
    ],
)
def test_command_lines(given: list[str], kept: tuple[str, ...]) -> None:
    assert redact.argv(given) == kept
