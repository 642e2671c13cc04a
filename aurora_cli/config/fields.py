"""The settings tree as a flat list: where the command line, the reference page and the did-you-mean look things up."""

import difflib
import functools
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from aurora_cli.config.section import Mark
from aurora_cli.config.settings import Settings

_NAMES = {int: "int", float: "float", bool: "bool", str: "text", Path: "path"}


@dataclass(frozen=True)
class Setting:
    """One setting: its dotted path, type, default and docstring."""

    path: str
    info: FieldInfo
    default: Any

    @property
    def help(self) -> str:
        return " ".join((self.info.description or "").split())

    @property
    def annotation(self) -> Any:
        """The type without `None`."""
        return _without_none(self.info.annotation)

    @property
    def nullable(self) -> bool:
        return self.annotation is not self.info.annotation

    @property
    def choices(self) -> tuple[str, ...]:
        """The words of a closed choice, else nothing."""
        return get_args(self.annotation) if get_origin(self.annotation) is Literal else ()

    @property
    def many(self) -> bool:
        """Takes any number of words."""
        return get_origin(self.annotation) is tuple and get_args(self.annotation)[-1] is ...

    @property
    def may_change(self) -> bool:
        """A run may go on with another value."""
        return Mark.MAY_CHANGE in self.info.metadata

    @property
    def kind(self) -> str:
        """The type as a person would say it."""
        if self.choices:
            return "|".join(self.choices)
        if self.many:
            return "list"
        if get_origin(self.annotation) is tuple:
            return f"{len(get_args(self.annotation))} numbers"
        if get_origin(self.annotation) is dict:
            return "mapping"
        first, *_ = _forms(self.annotation) or (self.annotation,)
        return _NAMES.get(_bare(first), "mapping")

    @property
    def item(self) -> "Setting | None":
        """What is allowed for one of many."""
        return Setting(self.path, FieldInfo.from_annotation(get_args(self.annotation)[0]), None) if self.many else None

    @property
    def allowed(self) -> str:
        """The range in words, empty where everything of the type is allowed."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        words = []
        for rule in (*_constraints(self.info), *_constraints_of_forms(self.annotation)):
            match rule:
                case annotated_types.Ge(ge=bound):
                    words.append(f"at least {bound}")
                case annotated_types.Gt(gt=bound):
                    words.append(f"above {bound}")
                case annotated_types.Le(le=bound):
                    words.append(f"at most {bound}")
                case annotated_types.Lt(lt=bound):
                    words.append(f"below {bound}")
                case annotated_types.MinLen(min_length=bound):
                    words.append(f"of at least {bound}")
                case annotated_types.MaxLen(max_length=bound):
                    words.append(f"at most {bound}")
                case _ if getattr(rule, "pattern", None):
                    words.append(f"like {(self.info.examples or [self.default])[0]}")
        others = [f"or {_NAMES.get(_bare(form), 'mapping')}" for form in _forms(self.annotation)[1:]]
        if others and self.info.examples:
            others[-1] += f" like {self.info.examples[0]}"
        elif self.info.examples and not words:
            words.append(f"like {self.info.examples[0]}")
        return ", ".join([" and ".join(words), *others])


def settings(section: type[BaseModel] = Settings, prefix: str = "") -> Iterator[Setting]:
    """Every setting, in the order of the tree. Optional sections (`train.projector`) give their fields too.

    Those of another section than the whole tree have a `prefix` in front of their names.
    """
    yield from _walk(section, prefix)


@functools.cache
def by_path() -> dict[str, Setting]:
    return {setting.path: setting for setting in settings()}


@functools.cache
def inside() -> dict[str, Setting]:
    """What is in settings that may be a value or a mapping of several. No settings themselves; messages name them."""
    found: dict[str, Setting] = {}
    for setting in settings():
        for form in map(_bare, _forms(setting.annotation)):
            if isinstance(form, type) and issubclass(form, BaseModel):
                found |= {each.path: each for each in settings(form, f"{setting.path}.")}
    return found


def lookup(path: str) -> Setting:
    """The setting at a dotted path.

    >>> lookup("tokenize.batch_size").default
    100000
    """
    return by_path()[path]


def near(path: str) -> str | None:
    """The known path that was most likely meant.

    >>> near("train.epoch"), near("max_steps"), near("tokenise.batch_size")
    ('train.epochs', 'train.max_steps', 'tokenize.batch_size')
    """
    known = [*by_path(), *inside()]
    for candidate in known:
        if candidate.rpartition(".")[2] == path.rpartition(".")[2]:
            section = difflib.SequenceMatcher(None, candidate, path).ratio()
            if "." not in path or section > 0.6:
                return candidate
    close = difflib.get_close_matches(path, known, n=1, cutoff=0.6)
    if close:
        return close[0]
    by_name = {candidate.rpartition(".")[2]: candidate for candidate in reversed(known)}
    close = difflib.get_close_matches(path.rpartition(".")[2], list(by_name), n=1, cutoff=0.75)
    return by_name[close[0]] if close else None


def is_section(path: str) -> bool:
    return any(known.startswith(f"{path}.") for known in by_path())


def _walk(model: type[BaseModel], prefix: str) -> Iterator[Setting]:
    for name, info in model.model_fields.items():
        inner = _without_none(info.annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _walk(inner, f"{prefix}{name}.")
        else:
            yield Setting(f"{prefix}{name}", info, info.get_default(call_default_factory=True))


def _constraints(info: FieldInfo) -> Iterator[Any]:
    for rule in info.metadata:
        yield from rule if isinstance(rule, annotated_types.GroupedMetadata) else (rule,)


def _constraints_of_forms(annotation: Any) -> Iterator[Any]:
    for form in _forms(annotation):
        for info in get_args(form)[1:]:
            if isinstance(info, FieldInfo):
                yield from _constraints(info)


def _forms(annotation: Any) -> tuple[Any, ...]:
    """Of a value that may be one thing or another, each; of others none."""
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else ()


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        return _without_none(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [part for part in get_args(annotation) if part is not type(None)]
        if len(rest) == 1:
            return _without_none(rest[0])
    return annotation
