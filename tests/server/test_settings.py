"""Settings: what each source may say, which one counts, and what a mistake is told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headlong.engine.cost_cache import VARIABLE
from headlong.errors import ParameterError
from headlong.ops.state import KV_TYPES
from headlong.sampling import MAX_DRAFT
from headlong.server.settings import ServerSettings, declared_settings
from headlong.server.settings_sources import config_file, read_settings
from headlong.server.settings_text import settings_json, settings_toml


def written(folder: Path, text: str) -> Path:
    path = folder / "own.toml"
    path.write_text(text)
    return path


def refused(
    flags: dict[str, str] | None = None,
    environment: dict[str, str] | None = None,
    config: Path | None = None,
) -> str:
    with pytest.raises(ParameterError) as caught:
        read_settings(flags or {}, environment or {}, config)
    return str(caught.value)


# --- Declarations


def test_every_setting_has_its_own_flags_and_a_help() -> None:
    flags = [flag for one in declared_settings() for flag in one.flags]
    assert len(flags) == len(set(flags))
    assert all(one.help.endswith(".") and one.flag in one.flags for one in declared_settings())
    assert {one.name for one in declared_settings()} >= {"port", "ctx_size", "parallel", "fit"}


def test_declared_limits_are_those_of_the_engine() -> None:
    kinds = {one.name: one.kind for one in declared_settings()}
    assert kinds["cache_type"].words == KV_TYPES  # type: ignore[attr-defined]
    assert kinds["spec_draft_n_max"].high == MAX_DRAFT  # type: ignore[attr-defined]


def test_defaults_keep_to_this_machine() -> None:
    settings = ServerSettings()
    assert settings.loopback
    assert settings.cors_origins == () and not settings.log_prompts


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("box.example", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert ServerSettings(host=host).loopback is loopback


# --- Which source counts


def test_flags_win_over_variables_over_the_file_over_defaults(tmp_path: Path) -> None:
    config = written(tmp_path, "port = 1\nctx-size = 100\nthreads = 3\n")
    found = read_settings({"port": "3"}, {"HEADLONG_PORT": "2", "HEADLONG_CTX_SIZE": "200"}, config)
    assert (found.port, found.ctx_size, found.threads) == (3, 200, 3)
    assert found.origin("port") == "flag --port"
    assert found.origin("ctx_size") == "HEADLONG_CTX_SIZE"
    assert found.origin("threads") == f"{config}, line 3"
    assert found.origin("host") == "default"
    assert config_file(None, {}) is None
    assert config_file(config, {"HEADLONG_CONFIG": "x"}) == config


def test_a_variable_names_the_file(tmp_path: Path) -> None:
    config = written(tmp_path, "port = 1\n")
    assert read_settings({}, {"HEADLONG_CONFIG": str(config)}).port == 1
    other = tmp_path / "other.toml"
    other.write_text("port = 7\n")
    assert read_settings({}, {"HEADLONG_CONFIG": str(config)}, other).port == 7


def test_a_file_in_the_working_folder_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "headlong.toml").write_text("port = 1\n")
    monkeypatch.chdir(tmp_path)
    assert read_settings({}, {}) == ServerSettings()


def test_an_empty_variable_counts_as_not_set() -> None:
    assert read_settings({}, {"HEADLONG_PORT": ""}).port == 8080


def test_file_names_in_a_file_are_relative_to_it(tmp_path: Path) -> None:
    config = written(tmp_path, 'model = "m.gguf"\nchat-template-file = "t.jinja"\n')
    settings = read_settings({}, {}, config)
    assert settings.model == str(tmp_path / "m.gguf")
    assert settings.chat_template_file == tmp_path / "t.jinja"
    config.write_text('model = "hf:some/one"\n')
    assert read_settings({}, {}, config).model == "hf:some/one"


@pytest.mark.parametrize(
    ("text", "toml", "value"),
    [("on", "true", True), ("TRUE", "true", True), ("1", "true", True), ("no", "false", False)],
)
def test_switches(tmp_path: Path, text: str, toml: str, value: bool) -> None:
    assert read_settings({"log_prompts": text}, {}).log_prompts is value
    config = written(tmp_path, f"log-prompts = {toml}")
    assert read_settings({}, {}, config).log_prompts is value


def test_lists(tmp_path: Path) -> None:
    both = ("https://a.example", "http://b.example:8080")
    text = ", ".join(both)
    assert read_settings({}, {"HEADLONG_CORS_ORIGINS": text}).cors_origins == both
    config = written(tmp_path, f"cors-origins = {json.dumps(both)}")
    assert read_settings({}, {}, config).cors_origins == both
    config = written(tmp_path, 'cors-origins = "*"')
    assert read_settings({}, {}, config).cors_origins == ("*",)


def test_auto_is_a_word_everywhere(tmp_path: Path) -> None:
    config = written(tmp_path, 'parallel = "auto"\nspec-draft-n-max = 3')
    settings = read_settings({"spec_draft_n_max": "auto"}, {}, config)
    assert settings.parallel is None
    assert settings.draft_n_max == "auto"
    assert replace(settings, spec_draft_n_max=2).draft_n_max == 2


# --- Mistakes


def test_unknown_variables_name_the_nearest() -> None:
    message = refused(environment={"HEADLONG_CTXSIZE": "5"})
    assert "HEADLONG_CTXSIZE" in message
    assert "nearest is HEADLONG_CTX_SIZE" in message


def test_variables_of_the_rest_of_the_program_are_known() -> None:
    assert read_settings({}, {VARIABLE: "off", "OTHER_PORT": "x"}) == ServerSettings()


def test_every_variable_that_the_sources_read_is_known() -> None:
    source = Path(__file__).parents[2] / "src"
    names = {
        name
        for path in source.rglob("*.py")
        for name in re.findall(r"\bHEADLONG_[A-Z_]+\b", path.read_text())
    }
    for name in names - {"HEADLONG_CONFIG"}:
        read_settings({}, {name: ""})


def test_unknown_keys_name_file_line_and_the_nearest(tmp_path: Path) -> None:
    config = written(tmp_path, "port = 1\n\nctx_size = 5\n")
    message = refused(config=config)
    assert f"{config}, line 3" in message
    assert "'ctx_size'" in message and "nearest is ctx-size" in message
    config.write_text("[server]\nport = 1\n")
    assert f"{config}, line 1: 'server' is no setting" in refused(config=config)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('port = "eighty"', "'eighty' is not a whole number from 0 to 65535"),
        ("port = true", "true is not a whole number"),
        ("port = 65536", "65536 is not a whole number"),
        ("port = 80.0", "80.0 is not a whole number"),
        ("timeout = nan", "NaN is not a number from 0 to 86400 seconds"),
        ("timeout = -1", "-1 is not a number"),
        ("fit = 1", "1 is neither true nor false"),
        ('cache-type = "q4_0"', "'q4_0' is not one of: f16, q8_0"),
        ("cache-type = 3", "3 is not one of"),
        ("model = 3", "3 is not a text"),
        ('model = " "', "the text is empty"),
        ("alias = 3", "3 is not a list of texts"),
        ("alias = [3]", "3 is not a text"),
        ('chat-template-file = ""', "the file name is empty"),
        ("chat-template-file = 1979-05-27", "is not a file name"),
        ('cors-origins = "https://a.example/page"', "is not an origin"),
        ('host = "http://a"', "is not a host name"),
        ('api-key = "two words"', "visible ASCII"),
        ("ctx-size = 1", "from 2 to"),
        ("parallel = 0", "from 1 to 256, nor 'auto'"),
    ],
)
def test_values_of_another_kind_name_file_line_and_key(
    tmp_path: Path, line: str, words: str
) -> None:
    config = written(tmp_path, f"# first\n{line}\n")
    message = refused(config=config)
    assert message.startswith(f"{config}, line 2: {line.split()[0]}: ")
    assert words in message


@pytest.mark.parametrize("text", ["", "1e3", "٣", "0x10", "--5", "9" * 5000])
def test_numbers_are_plain_digits(text: str) -> None:
    message = refused({"port": text})
    assert message.startswith("--port: ")
    assert refused({}, {"HEADLONG_PORT": text or "x"}).startswith("HEADLONG_PORT: ")


def test_a_file_that_is_not_toml_names_the_line(tmp_path: Path) -> None:
    config = written(tmp_path, "port = 1\nhost = \n")
    message = refused(config=config)
    assert str(config) in message and "line 2" in message
    config.write_bytes(b"\xff\xfe")
    assert "not TOML" in refused(config=config)
    config.write_text("a = " + "[" * 100_000)
    assert "not TOML" in refused(config=config)
    config.write_bytes(b"#" * (1 << 21))
    assert "MiB" in refused(config=config)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_settings({}, {}, tmp_path / "none.toml")


def test_settings_that_contradict_each_other() -> None:
    message = refused({"spec_type": "none", "spec_draft_n_max": "3"})
    assert "spec-draft-n-max = 3" in message and "spec-type = none" in message
    message = refused({"cache_prompt": "off", "cache_ram": "100"})
    assert "cache-ram = 100" in message


# --- Keys


def test_keys_come_from_flags_and_a_file(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# two\n\nfirst\n second \r\n")
    settings = read_settings({"api_key": "a,b", "api_key_file": str(keys)}, {})
    assert settings.api_keys == ("a", "b", "first", "second")
    keys.write_text("# none\n")
    with pytest.raises(ParameterError, match="holds no key"):
        _ = settings.api_keys
    keys.write_text("good\nbad key\n")
    with pytest.raises(ParameterError, match="line 2") as caught:
        _ = settings.api_keys
    assert "bad key" not in str(caught.value)
    keys.write_text("kéy\n")
    with pytest.raises(ParameterError, match="ASCII"):
        _ = settings.api_keys


def test_keys_are_never_shown() -> None:
    found = read_settings({"api_key": "secret1,secret2"}, {})
    shown = json.dumps(settings_json(found)) + settings_toml(found)
    assert "secret" not in shown
    assert settings_json(found)["api-key"] == {"value": ["********"] * 2, "from": "flag --api-key"}


# --- Printing


def test_what_is_printed_is_a_file_of_the_same_effect(tmp_path: Path) -> None:
    flags = {
        "model": str(tmp_path / 'odd "name"\\\n\x7f.gguf'),
        "alias": "a b,ü",
        "cors_origins": "*",
        "chat_template_file": str(tmp_path / "t.jinja"),
        "timeout": "1.5",
        "ctx_size": "77",
        "fit": "off",
        "isa": "avx2",
    }
    found = read_settings(flags, {"HEADLONG_THREADS": "2"})
    config = written(tmp_path, settings_toml(found))
    again = read_settings({}, {}, config)
    assert again == found
    assert "ctx-size = 77  # flag --ctx-size" in settings_toml(found)
    assert "threads = 2  # HEADLONG_THREADS" in settings_toml(found)
    assert "port = 8080  # default" in settings_toml(found)


@given(
    st.integers(0, 65535),
    st.none() | st.integers(1, 256),
    st.floats(0, 86400),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)),
)
def test_printing_and_reading_again(
    tmp_path_factory: pytest.TempPathFactory,
    port: int, parallel: int | None, timeout: float, alias: list[str],
) -> None:  # fmt: skip
    settings = ServerSettings(port=port, parallel=parallel, timeout=timeout, alias=tuple(alias))
    config = tmp_path_factory.getbasetemp() / "printed.toml"
    config.write_bytes(settings_toml(settings).encode())
    assert read_settings({}, {}, config) == settings


def test_every_setting_is_shown_as_json() -> None:
    shown = settings_json(ServerSettings(chat_template_file=Path("t")))
    assert set(shown) == {one.key for one in declared_settings()}
    assert json.loads(json.dumps(shown))["chat-template-file"]["value"] == "t"


def test_changes_by_the_program_say_why() -> None:
    found = ServerSettings().changed("memory", ctx_size=512)
    assert found.ctx_size == 512
    assert "ctx-size = 512  # memory" in settings_toml(found)


def test_settings_load_no_engine_and_no_web_framework() -> None:
    code = "import sys, headlong.server.settings_sources; print(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "headlong.server.settings" in output
    assert not [name for name in output if name.startswith(("numpy", "fastapi", "pydantic"))]
