"""The console's files: both languages whole, nothing from elsewhere, all of them served and packaged."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import tiny_shop as tiny
from service_runs import running

from serving.console.routes import STATIC

ROOT = Path(__file__).parents[2]
FILES = sorted(STATIC.iterdir())
STRINGS = json.loads((STATIC / "strings.json").read_text(encoding="utf-8"))
CODE = "\n".join(path.read_text(encoding="utf-8") for path in FILES if path.suffix in (".js", ".html"))


def test_both_languages_say_the_same_things_with_the_same_blanks() -> None:
    assert set(STRINGS["zh"]) == set(STRINGS["en"])
    for key, words in STRINGS["zh"].items():
        assert words.strip()
        assert sorted(re.findall(r"\{\w+\}", words)) == sorted(re.findall(r"\{\w+\}", STRINGS["en"][key])), key


def test_every_word_that_the_page_asks_for_is_there_and_every_word_there_is_asked_for() -> None:
    asked = set(re.findall(r"\bt\('(\w+)'", CODE)) | set(re.findall(r'data-t(?:-label|-placeholder)?="(\w+)"', CODE))
    assert asked <= set(STRINGS["en"])
    families = set(re.findall(r"\bt\(`(\w+_)\$\{", CODE))
    quoted = set(re.findall(r"'(\w+)'", CODE))
    unused = {key for key in STRINGS["en"] if key not in asked | quoted and not any(key.startswith(family) for family in families)}
    assert unused <= {f"{name}_help" for name in ("p_click", "p_convert", "propensity")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_of_the_page_names_another_host(path) -> None:
    hosts = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", path.read_text(encoding="utf-8")))
    assert hosts <= {"http://www.w3.org"}  # the name of SVG's vocabulary, which is fetched by nobody


def test_all_files_are_packaged() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert settings["package-data"]["serving.console"] == ["static/*"]
    assert all(path.is_file() for path in FILES)


def test_the_files_are_open_and_may_load_nothing_from_elsewhere(shop) -> None:
    with running(tiny.settings_in(shop)) as client:
        assert client.get("/", follow_redirects=False).headers["location"] == "/console/"
        for path in FILES:
            answer = client.get(f"/console/{path.name}")
            assert answer.content == path.read_bytes()
            assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert client.get("/console").content == (STATIC / "index.html").read_bytes()
        for name in ("nothing.js", "..%2froutes.py", "../api.py"):
            assert client.get(f"/console/{name}").status_code == 404
