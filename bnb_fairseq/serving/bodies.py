"""Reading the body of a request: bounded in bytes and in time, and checked."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from .limits import Limits, RequestError

FIELDS = 200  # most fields of a form
URLENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"
Body = TypeVar("Body", bound=BaseModel)

_PARSER = logging.getLogger("python_multipart")  # it would write bytes of bodies into the log
_PARSER.addHandler(logging.NullHandler())
_PARSER.propagate = False


async def read_body(request: Request, limits: Limits) -> bytes:
    """Read a body. One that is too large is read to its end, and not kept, so that its client reads the answer.

    Args:
        request: the request.
        limits: the most bytes and the longest time.

    Returns:
        The body.

    Raises:
        ClientDisconnect: if the client goes before its end.
        RequestError: if it is too large or too slow.
    """
    try:
        return await asyncio.wait_for(_read(request, limits.body), limits.body_timeout)
    except asyncio.TimeoutError:
        raise RequestError(408, f"the body must arrive within {limits.body_timeout:g} s, but did not") from None


async def _read(request: Request, most: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size <= most:
            parts.append(part)
        else:
            parts.clear()
    if size > most:
        raise RequestError(413, f"the body must have at most {most:,} bytes, but has {size:,}")
    return b"".join(parts)


def parse_json(kind: type[Body], body: bytes) -> Body:
    """Parse JSON.

    Args:
        kind: what it must hold.
        body: the bytes.

    Returns:
        What it holds.

    Raises:
        RequestError: if it is no JSON, or does not fit.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise RequestError(400, _fault(kind, error)) from None


async def parse_form(kind: type[Body], body: bytes, headers: Headers) -> Body:
    """Parse a form; a field that is given several times is a list.

    Args:
        kind: what it must hold.
        body: the bytes.
        headers: of the request; they have its type.

    Returns:
        What it holds.

    Raises:
        RequestError: if it is no form, or does not fit.
    """
    try:
        pairs = await _multipart(body, headers) if is_form(headers) == MULTIPART else _urlencoded(body)
    except (MultiPartException, ValueError, KeyError):
        raise RequestError(400, f"the body must be a form of at most {FIELDS} fields in UTF-8, but is not") from None
    values: dict[str, Any] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    plain = {name: found[0] if len(found) == 1 else found for name, found in values.items()}
    try:
        return kind.model_validate(plain)
    except ValidationError as error:
        raise RequestError(400, _fault(kind, error)) from None


def is_form(headers: Mapping[str, str]) -> str | None:
    """Return which type of form a body has by its head; None: it has none."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind if kind in (URLENCODED, MULTIPART) else None


def _urlencoded(body: bytes) -> list[tuple[str, str]]:
    return parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FIELDS)


async def _multipart(body: bytes, headers: Headers) -> list[tuple[str, str]]:
    async def stream() -> AsyncIterator[bytes]:
        yield body

    parser = MultiPartParser(headers, stream(), max_files=0, max_fields=FIELDS, max_part_size=len(body))  # type: ignore[arg-type]
    return [(name, value) for name, value in (await parser.parse()).multi_items() if isinstance(value, str)]


def _fault(kind: type[BaseModel], error: ValidationError) -> str:
    """The first fault, without a word of the request."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    known = kind.model_fields
    if first["type"] == "json_invalid":
        return "the body must be JSON, but cannot be parsed"
    if first["type"] == "extra_forbidden":
        return f"the fields must be {', '.join(known)}, but another one is given"
    if name not in known:
        return "the body must be an object with fields, but is not"
    if first["type"] == "missing":
        return f"{name} must be given ({known[name].description}), but is missing"
    constraint = first["msg"].partition(" should ")[2].removesuffix(" after validation").replace("array", "list")
    return f"{name} must {constraint or 'be right'} ({known[name].description}), but is something else"
