"""Hostile templates: each must end soon, in little memory, with an error that says why."""

import time
import tracemalloc
import warnings

import pytest

from headlong.errors import TemplateError
from headlong.tokenizer import ChatTemplate

USER = {"role": "user", "content": "x"}
SECONDS = 5.0  # of the processor; two of them are what the clock gives to rendering
MEGABYTES = 100


def grow(step: str, start: str = "'x'", use: str = "{{ ns.s|length }}") -> str:
    """Sixty steps, each of which may double a value."""
    return (
        f"{{% set ns = namespace(s={start}) %}}{{% for i in range(60) %}}{step}{{% endfor %}}{use}"
    )


TOO_MUCH = {
    "product": "{{ 'x' * 10**12 }}",
    "constant product": "{{ 'x' * 1000000000000 }}",
    "product of lists": "{{ [1] * 10**10 }}",
    "sum": grow("{% set ns.s = ns.s + ns.s %}"),
    "joined": grow("{% set ns.s = ns.s ~ ns.s %}"),
    "block": grow("{% set x %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = x %}"),
    "lists": grow("{% set ns.s = ns.s + ns.s %}", "[1]"),
    "list of lists": grow("{% set ns.s = [ns.s, ns.s] %}", "[1]", "{{ ns.s }}"),
    "tuples": grow("{% set ns.s = (ns.s, ns.s) %}", "(1,)", "{{ ns.s }}"),
    "dicts": grow("{% set ns.s = {'a': ns.s, 'b': ns.s} %}", "1", "{{ ns.s|tojson }}"),
    "dict calls": grow("{% set ns.s = dict(a=ns.s, b=ns.s) %}", "1", "{{ ns.s|string }}"),
    "views": grow("{% set v = ns.s.items() %}{% set ns.s = {'a': v, 'b': v} %}", "{'c': 1}"),
    "filtered lists": grow("{% set ns.s = [x, x]|map('default', ns.s)|list %}", "[1]"),
    "macro": "{% macro f(n) %}" + "{{ 'x' * 99999 }}" * 20 + "{% endmacro %}{{ f() }}",
    "replaced": "{% set a = 'x' * 100000 %}{{ a.replace('x', a) }}",
    "replaced by a filter": "{% set a = 'x' * 100000 %}{{ a|replace('', a) }}",
    "long separator": "{% set a = 'x' * 500000 %}{{ a.join(range(999)|map('string')) }}",
    "long separator of a filter": "{% set a = 'x' * 500000 %}{{ range(999)|join(a) }}",
    "split": "{{ ('a,' * 100000).split(',') }}",
    "output": "{% for i in range(99999) %}" + "x" * 1000 + "{% endfor %}",
    "variables": "".join(f"{{% set a{i} = 'x' * 999999 %}}" for i in range(40)),
    "slices": "{% set a = 'x' * 999999 %}"
    + "".join(f"{{% set a{i} = a[1:] %}}" for i in range(40)),
}
TOO_LONG = {
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "filtered loops": "{% for i in range(99999) %}{% for j in range(99999) if false %}"
    "{% endfor %}{% endfor %}",
    "macros": "{% macro f(n) %}{{ f(n - 1) if n }}{{ f(n - 1) if n }}{% endmacro %}{{ f(60) }}",
    "comparisons": "{% set b = 'x' * 999999 %}{% set c = b ~ 'y' %}{% for i in range(99999) %}"
    "{{ 'zy' in c }}{% endfor %}",
}
FAILS = {
    "{% for i in range(10**9) %}x{% endfor %}": "Range too big",
    "{{ 9 ** 9 ** 9 ** 9 ** 9 }}": "4096 bits",
    grow("{% set ns.s = ns.s * ns.s %}", "9"): "4096 bits",
    "{{ '%1000000000d' % 1 }}": "use ~ to join",
    "{{ '{:1000000000}'.format(1) }}": "'format' of 'str'",
    "{{ '{0.__class__}'.format_map({}) }}": "'format_map' of 'str'",
    "{{ 'x'.ljust(1000000000) }}": "'ljust' of 'str'",
    "{{ 'x'.zfill(1000000000) }}": "'zfill' of 'str'",
    "{{ 'x'.encode() }}": "'encode' of 'str'",
    "{{ (1).to_bytes(1000000000, 'big') }}": "'to_bytes' of 'int'",
    "{{ 'x\ny'|indent(100000) }}": "wider than 64",
    "{{ [1]|tojson(indent=1000000000) }}": "wider than 64",
    "{{ [1]|tojson(separators=('x' * 99, ':')) }}": "wider than 64",
    "{{ strftime_now('%Y' * 1000) }}": "format is too long",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}": "nested too deeply",
    "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}": "nested too deeply",
    "{{ ''.__class__.__mro__ }}": "'__class__' of 'str' object is unsafe",
    "{{ strftime_now.__globals__.x }}": "'__globals__' of 'function' object is unsafe",
    "{{ namespace.__init__.__globals__ }}": "is unsafe",
    "{{ self._TemplateReference__context.environment }}": "is unsafe",
    "{{ [].append(1) }}": "'append' of 'list' object is unsafe",
    "{{ {}.update(a=1) }}": "'update' of 'dict' object is unsafe",
    "{% set ns = namespace() %}{% set ns.__class__ = 1 %}": "cannot hold the name",
    "{{ namespace(_x=1) }}": "cannot hold the name",
    "{{ lipsum(n=1000000000) }}": "'lipsum' is undefined",
    "{{ 'x'.join([1]) }}": "only text can be joined",
    "{{ 1 + 'x' }}": "unsupported operand",
    "{{ 1 // 0 }}": "by zero",
}
INVALID = {
    "{{ 'x'|center(1000000000) }}": "No filter named 'center'",
    "{{ '%1000000000d'|format(1) }}": "No filter named 'format'",
    "{{ ''|attr('__class__') }}": "No filter named 'attr'",
    "{% include 'x' %}": "{% include %} in line 1",
    "{% import 'x' as y %}": "{% import %} in line 1",
    "{% from 'x' import y %}": "{% from %} in line 1",
    "{% extends 'x' %}": "{% extends %} in line 1",
    "{% autoescape true %}{% endautoescape %}": "{% autoescape %} in line 1",
    "{% for x in y %}": "Unexpected end of template",
    "{{ " + "(" * 30_000 + "1" + ")" * 30_000 + " }}": "cannot be compiled",
    "{{ " + "not " * 30_000 + "1 }}": "cannot be compiled",
    "{{ " + "+".join("1" * 5000) + " }}": "cannot be compiled",
    "{% if 1 %}" * 4000 + "{% endif %}" * 4000: "cannot be compiled",
    "{% for i in [1] %}" * 60 + "{% endfor %}" * 60: "cannot be compiled",
    "{" * 100_000: "cannot be compiled",
    "{%" * 60_000: "tag name expected",
    "{#" * 60_000: "Missing end of comment tag",
    " " * 200_000: "has 200000 characters; at most",
}


def check(source: str, message: str) -> None:
    begin = time.process_time()
    with pytest.raises(TemplateError) as caught, warnings.catch_warnings():
        warnings.simplefilter("error")
        ChatTemplate(source).render([USER])
    assert time.process_time() - begin < SECONDS
    assert message in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("name", TOO_MUCH)
def test_too_much(name: str) -> None:
    tracemalloc.start()
    try:
        check(TOO_MUCH[name], "far more text or data")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEGABYTES << 20


@pytest.mark.parametrize("name", TOO_LONG)
def test_too_long(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headlong.tokenizer.meter._SECONDS_BASE", 0.2)
    check(TOO_LONG[name], "takes too long")


@pytest.mark.parametrize("source", FAILS, ids=lambda source: source[:40])
def test_what_fails(source: str) -> None:
    check(source, FAILS[source])


@pytest.mark.parametrize("source", INVALID, ids=lambda source: source[:40])
def test_what_does_not_compile(source: str) -> None:
    check(source, INVALID[source])


def test_a_namespace_that_holds_itself_prints_nothing_of_it() -> None:
    source = "{% set ns = namespace() %}{% set ns.a = [ns, ns] %}{{ ns.a }}"
    text = ChatTemplate(source).render([USER]).text
    assert text == "[<Namespace>, <Namespace>]"


def test_undefined_attributes_leak_nothing() -> None:
    source = "{{ raise_exception.__globals__ }}{{ ['']|map(attribute='__class__')|list }}"
    assert ChatTemplate(source).render([USER]).text == "[Undefined]"


def test_limits_grow_with_the_conversation() -> None:
    source = "{% set ns = namespace(s='') %}{% for m in messages %}"
    source += "{% set ns.s = ns.s + m.content %}{% endfor %}{{ ns.s }}{{ ns.s }}"
    long = {"role": "user", "content": "y" * 1_000_000}
    assert len(ChatTemplate(source).render([long, long]).text) == 4_000_000


def test_a_long_refusal_is_cut() -> None:
    with pytest.raises(TemplateError) as caught:
        ChatTemplate("{{ raise_exception('x' * 9999) }}").render([USER])
    assert len(str(caught.value)) < 600


def test_a_template_works_again_after_it_failed() -> None:
    template = ChatTemplate("{{ 1 // (messages|length - 1) }}")
    with pytest.raises(TemplateError, match="by zero"):
        template.render([USER])
    assert template.render([USER, USER]).text == "1"
