"""Settings that a running program keeps: plain dataclasses, which pydantic can check but which do not need it.

A program that stays small (the edge agent on a gateway) has its configuration checked in a process that ends, and takes
over plain objects from there. What both need to know is declared once:

    @plain_settings
    class BrokerSettings:
        host: Annotated[str, Limits(min_length=1)]
        port: Annotated[int, Limits(ge=1, le=65535)] = 8883

`contracts.configuration.check_settings` makes such an object of a document and names all faults; calling the class
checks nothing but what stands in its `__post_init__` (which raises ValueError). Fields may hold such classes, so may
pydantic models. The module that declares them must import the types of its fields at run time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, TypeVar, dataclass_transform

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

T = TypeVar("T")

_RULES: Final = {"extra": "forbid", "allow_inf_nan": False, "use_attribute_docstrings": True}
"""As of `contracts.configuration.Settings`: an unknown key is a fault, and so are NaN and infinities."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
def plain_settings(cls: type[T]) -> type[T]:
    """Makes a class a frozen dataclass with keyword arguments that pydantic can check."""
    cls.__pydantic_config__ = _RULES  # type: ignore[attr-defined]  # where pydantic looks for it
    return dataclass(frozen=True, kw_only=True)(cls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a value may be, in the words of pydantic's `Field`; pydantic is imported only where something is checked."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    discriminator: str | None = None
    """The key that tells which class of a union is meant."""
    one_of: tuple[int, ...] = ()
    """The only values that are allowed."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Pydantic asks this."""
        from pydantic import AfterValidator, Field  # noqa: PLC0415  # it weighs 15 MB: only where something is checked

        if self.one_of:
            return handler.generate_schema(Annotated[source, AfterValidator(self._check_one_of)])
        given = {name: getattr(self, name) for name in self.__slots__ if name != "one_of"}
        given = {name: limit for name, limit in given.items() if limit is not None}
        return handler.generate_schema(Annotated[source, Field(**given)])

    def _check_one_of(self, value: int) -> int:
        if value not in self.one_of:
            raise ValueError(f"not one of {', '.join(map(str, self.one_of))}")
        return value


BY_KIND: Final = Limits(discriminator="kind")
"""Of a union whose classes each have a `kind` of their own."""
