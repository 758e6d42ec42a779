"""Run chat templates from files that nobody vouches for.

A template is a program. Jinja's sandbox keeps it from Python's internals, but not from taking all
memory or never ending: nested loops, text doubled forty times, `'x' * 10**12`, a list that holds
itself twice over. So everything a template can make is metered (see `meter`), and what it can call
is an allowlist.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import wraps
from types import BuiltinMethodType, GeneratorType
from typing import Final, NoReturn, TypeVar, cast

from jinja2 import nodes, pass_context
from jinja2.compiler import CodeGenerator, Frame, operators
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS as JINJA_TESTS
from jinja2.utils import Namespace

from headlong.errors import TemplateError
from headlong.tokenizer.meter import Meter
from headlong.tokenizer.template_filters import FILTERS, joined, replaced

__all__ = ["TemplateSandbox"]

T = TypeVar("T")
N = TypeVar("N", bound=nodes.Expr)

# Far beyond what counting needs; keeps products and powers from taking all memory.
_INTEGER_BITS: Final = 4096

_REFUSED_TAGS: Final[dict[type[nodes.Node], str]] = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "from",
    nodes.Extends: "extends",
    nodes.EvalContextModifier: "autoescape",
}

# What templates may do with Python's own types. Left out: whatever pads or formats to a width, and
# whatever changes a value in place.
_TEXT_METHODS: Final = frozenset(
    (
        *("capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha"),
        *("isascii", "isdecimal", "isdigit", "islower", "isnumeric", "isspace", "istitle"),
        *("isupper", "join", "lower", "lstrip", "partition", "removeprefix", "removesuffix"),
        *("replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split", "splitlines"),
        *("startswith", "strip", "swapcase", "title", "upper"),
    )
)
_NOTHING: Final[frozenset[str]] = frozenset()
_METHODS: Final[tuple[tuple[type, frozenset[str]], ...]] = (
    (str, _TEXT_METHODS),
    (dict, frozenset(("get", "items", "keys", "values", "copy"))),
    (list, frozenset(("index", "count"))),
    (tuple, frozenset(("index", "count"))),
    (int, _NOTHING),
    (float, _NOTHING),
    (range, _NOTHING),
    (type, _NOTHING),
    (GeneratorType, _NOTHING),
)


class _MeteredCode(CodeGenerator):
    """Compiles templates so that literals, slices, comparisons and `~` count as well."""

    def visit_List(self, node: nodes.List, frame: Frame) -> None:  # noqa: N802
        self._charged(super().visit_List, node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:  # noqa: N802
        self._charged(super().visit_Dict, node, frame)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:  # noqa: N802
        if node.ctx == "load":
            self._charged(super().visit_Tuple, node, frame)
        else:
            super().visit_Tuple(node, frame)

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self.write("environment.sliced(")  # Jinja would not ask the environment
        self.visit(node.node, frame)
        self.write(", slice(")
        for bound in (node.arg.start, node.arg.stop, node.arg.step):
            if bound is None:
                self.write("None")
            else:
                self.visit(bound, frame)
            self.write(", ")
        self.write("))")

    def visit_Operand(self, node: nodes.Operand, frame: Frame) -> None:  # noqa: N802
        # A comparison is cheap to write in a long chain and may have a megabyte to look through.
        self.write(f" {operators[node.op]} environment.compared(")
        self.visit(node.expr, frame)
        self.write(")")

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        self.write("environment.concat_values((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def _charged(self, visit: Callable[[N, Frame], None], node: N, frame: Frame) -> None:
        self.write("environment.charge(")
        visit(node, frame)
        self.write(")")


class _GenerationTag(Extension):
    """`{% generation %}` marks what the assistant wrote, for training; here it has no effect."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Namespace(Namespace):
    """A namespace that does not print its contents, which may change after it was weighed."""

    def __init__(*args: object, **attributes: object) -> None:
        # As in Jinja: no parameter may take a name away from the attributes.
        self, rest = args[0], args[1:]
        assert isinstance(self, _Namespace)
        Namespace.__init__(self)
        for name, value in _new_dict(*rest, **attributes).items():
            self[name] = value

    def __setitem__(self, name: str, value: object) -> None:
        if not isinstance(name, str) or name.startswith("_"):
            raise TypeError(f"a namespace cannot hold the name {name!r}")
        super().__setitem__(name, value)

    def __repr__(self) -> str:
        return "<Namespace>"


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """The environment in which one chat template is compiled and rendered.

    It offers what transformers offers to templates: `trim_blocks` and `lstrip_blocks`, loop
    controls, `raise_exception`, `strftime_now`. Set `meter` before each rendering, and render once
    at a time. Whatever a template does wrong shows as some exception; `ChatTemplate` sorts them.
    """

    code_generator_class = _MeteredCode
    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=(loopcontrols, _GenerationTag),
            finalize=_printed,
            optimized=False,  # nothing is computed while compiling, where nothing is metered
            cache_size=0,
        )
        self.meter = Meter()

        def strftime_now(format: str) -> str:
            if len(format) > 256:
                raise ValueError("strftime_now: the format is too long")
            return now().strftime(format)

        self.globals = {
            "range": self.globals["range"],  # the sandbox's, of at most 100 000 numbers
            "dict": _new_dict,
            "namespace": _Namespace,
            "raise_exception": _raise_exception,
            "strftime_now": strftime_now,
        }
        tests = cast("dict[str, Callable[..., object]]", JINJA_TESTS)
        self.filters = {name: self._metered(function) for name, function in FILTERS.items()}
        self.tests = {name: self._metered(test) for name, test in tests.items()}

    # --- Called by compiled templates

    def step(self) -> bool:
        """Count one turn of a loop."""
        self.meter.step()
        return True

    def charge(self, value: T) -> T:
        """Account for a literal."""
        self.meter.step()
        return self.meter.charge(value)

    def compared(self, value: T) -> T:
        """The right side of a comparison."""
        self.meter.step()
        return value

    def sliced(self, value: str | list[object] | tuple[object, ...], part: slice) -> object:
        """`value[a:b:c]`, accounted for as a container alone: what it holds was weighed before."""
        self.meter.step()
        result = value[part]
        self.meter.allow(sys.getsizeof(result))
        return result

    def text(self, value: object) -> str:
        """A value as text, accounted for."""
        return value if isinstance(value, str) else self.meter.charge(str(value))

    def concat(self, parts: Iterable[str]) -> str:
        """Join the text of a macro or a block."""
        self.meter.step()
        return joined(self, "", parts)

    def concat_values(self, values: Iterable[object]) -> str:
        """The `~` operator."""
        return self.concat(map(self.text, values))

    def call(
        self, context: Context, function: object, /, *args: object, **kwargs: object
    ) -> object:
        """Call a function, method or macro."""
        self.meter.step()
        if isinstance(function, BuiltinMethodType) and isinstance(function.__self__, str):
            name, text = function.__name__, function.__self__
            if name == "join" and len(args) == 1 and isinstance(args[0], Iterable):
                return joined(self, text, args[0])
            if name == "replace" and len(args) in (2, 3):
                return replaced(self, text, *args)
        return self.meter.charge(super().call(context, function, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        """One of `intercepted_binops`, checked before it is done."""
        meter = self.meter
        meter.step()
        if operator == "+":
            if isinstance(left, str | list | tuple) and isinstance(right, type(left)):
                weight = meter.weigh(left) + meter.weigh(right)
                meter.allow(weight)
                joined = super().call_binop(context, operator, left, right)
                if not isinstance(left, str):
                    meter.remember(joined, weight)
                return joined
        elif operator == "%":
            if isinstance(left, str):
                raise TypeError("% does not format text here; use ~ to join")
        elif isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length()
            bits = bits * max(right, 0) if operator == "**" else bits + right.bit_length()
            if bits > _INTEGER_BITS:
                raise OverflowError(f"an integer of more than {_INTEGER_BITS} bits")
        elif operator == "*":
            for unit, times in ((left, right), (right, left)):
                if isinstance(unit, str | list | tuple) and isinstance(times, int):
                    size = len(unit) if isinstance(unit, str) else meter.weigh(unit)
                    meter.allow(size * max(times, 0))
        return super().call_binop(context, operator, left, right)

    # --- Hooks of the sandbox and the compiler

    def is_safe_attribute(self, obj: object, attr: str, value: object) -> bool:
        """Whether a template may touch an attribute of a Python object."""
        for kind, names in _METHODS:
            if isinstance(obj, kind):
                return attr in names
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: object) -> None:
        """`str.format` gets no replacement: it is refused like any method not listed."""

    def _generate(
        self,
        source: nodes.Template,
        name: str | None,
        filename: str | None,
        defer_init: bool = False,
    ) -> str:
        for kind, tag in _REFUSED_TAGS.items():
            for node in source.find_all(kind):
                raise TemplateError(
                    f"the chat template uses {{% {tag} %}} in line {node.lineno}, "
                    "a tag that chat templates do not have"
                )
        for loop in source.find_all(nodes.For):
            step = nodes.Call(
                nodes.EnvironmentAttribute("step"), [], [], None, None, lineno=loop.lineno
            )
            loop.body.insert(0, nodes.ExprStmt(step, lineno=loop.lineno))
            if loop.test:  # turns that are filtered out take time as well
                loop.test = nodes.And(step, loop.test, lineno=loop.lineno)
        return super()._generate(source, name, filename, defer_init)

    def _metered(self, function: Callable[..., object]) -> Callable[..., object]:
        @wraps(function)
        def metered(*args: object, **kwargs: object) -> object:
            self.meter.step()
            return self.meter.charge(function(*args, **kwargs))

        return metered


@pass_context
def _printed(context: Context, value: object) -> str:
    """What `{{ value }}` writes. Taking the context keeps Jinja from computing it beforehand."""
    environment = context.environment
    assert isinstance(environment, TemplateSandbox)
    environment.meter.step()
    return environment.text(value)


def _raise_exception(message: object) -> NoReturn:
    raise TemplateError(f"the chat template refuses the conversation: {str(message)[:500]}")


def _new_dict(*args: object, **items: object) -> dict[str, object]:
    return dict(*args, **items)
