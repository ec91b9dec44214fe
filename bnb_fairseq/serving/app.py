"""The application: routes, and what each answers."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from ..folder.search import check_options
from .answers import libre_answer, translated
from .batching import Answer, Asked, Batcher
from .bodies import is_form, parse_form, parse_json, read_body
from .counters import Metrics
from .gate import FAILED, Gate, failure
from .keys import Keys, Rate, given_key
from .languages import language_name
from .limits import Limits, RequestError
from .markup import Markup
from .models import AUTO, Model, Models
from .openapi import docs_page, document
from .page import PAGE, SCRIPT, STYLE
from .schemas import LibreRequest, TranslateRequest

LARGEST_WEIGHT = 100.0  # of weights and bonuses in a search; its scores are float32
TYPING_PAUSE = 500  # milliseconds after which a page of LibreTranslate's kind asks


@dataclass(frozen=True)
class Settings:
    """Options of a server.

    Attributes:
        limits: its limits.
        keys: API keys; none: everybody may ask.
        origins: web sites whose pages may ask, for CORS.
        wait: seconds that a text waits for others to share its batch.
        batches: batches of a model that run at the same time.
        log: write a line for each request.
    """

    limits: Limits = field(default_factory=Limits)
    keys: Sequence[str] = ()
    origins: Sequence[str] = ()
    wait: float = 0.003
    batches: int = 1
    log: bool = False


@dataclass
class Service:
    """The state of an application.

    Attributes:
        models: by their languages.
        settings: how the server runs.
        metrics: what it counts.
        keys: who may ask.
        rate: how often.
        batchers: the queue of each model, by its languages.
    """

    models: Models
    settings: Settings
    metrics: Metrics
    keys: Keys
    rate: Rate
    batchers: dict[tuple[str, str], Batcher] = field(default_factory=dict)

    def batcher(self, model: Model) -> Batcher:
        """Return the queue of a model."""
        return self.batchers[model.source, model.target]

    def admit(self, request: Request, key: str | None) -> None:
        """Check the key of a request, and count it; a RequestError refuses it."""
        key = given_key(request.headers) or key
        self.keys.check(key)
        address = request.client.host if request.client else ""
        self.rate.count(key if key is not None and self.keys else address)

    def check_size(self, texts: Sequence[str], more: Sequence[str] = ()) -> None:
        """Check the number of texts, and of characters with those of a glossary; a RequestError refuses them."""
        limits = self.settings.limits
        if len(texts) > limits.texts:
            raise RequestError(400, f"texts must be at most {limits.texts:,}, but are {len(texts):,}")
        characters = sum(map(len, texts)) + sum(map(len, more))
        if characters > limits.characters:
            raise RequestError(400, f"characters must be at most {limits.characters:,}, but are {characters:,}")

    def check_alternatives(self, wanted: int) -> None:
        """Check the number of alternatives; a RequestError refuses it."""
        most = self.settings.limits.alternatives
        if wanted > most:
            raise RequestError(400, f"alternatives must be at most {most}, but are {wanted}")

    @asynccontextmanager
    async def running(self, app: Starlette) -> AsyncIterator[None]:
        """Run the queues as long as the application runs."""
        settings = self.settings
        executor = ThreadPoolExecutor(settings.batches * len(self.models.all), "translate")
        for (source, target), model in self.models.all.items():
            self.batchers[source, target] = Batcher(
                model.translate,
                model.translator.count_tokens,
                executor,
                model.translator.batch_tokens,
                settings.limits.queue,
                settings.wait,
                self.metrics.of_model(source, target),
            )
        runs = [
            asyncio.create_task(batcher.run()) for batcher in self.batchers.values() for _ in range(settings.batches)
        ]
        try:
            yield
        finally:
            for run in runs:
                run.cancel()
            executor.shutdown(wait=True, cancel_futures=True)


def create_app(models: Models, settings: Settings) -> Gate:
    """Create the application.

    Args:
        models: its models.
        settings: how it runs.

    Returns:
        The application, which ASGI servers run.
    """
    service = Service(models, settings, Metrics(), Keys(settings.keys), Rate(settings.limits.rate))
    routes = _routes(service)
    cors = Middleware(
        CORSMiddleware, allow_origins=settings.origins, allow_methods=["GET", "POST"], allow_headers=["*"]
    )

    async def failed(request: Request, error: Exception) -> Response:
        """Answer what Starlette refuses: no such route, no such method."""
        assert isinstance(error, HTTPException)
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestError)
        return failure(error)

    async def crashed(request: Request, error: Exception) -> Response:
        """Answer what no route foresaw; the gate notes it."""
        return failure(RequestError(500, FAILED))

    app = Starlette(
        routes=routes,
        middleware=[cors] if settings.origins else [],
        exception_handlers={HTTPException: failed, RequestError: refused, Exception: crashed},
        lifespan=service.running,
    )
    gate = Gate(app, service.metrics, [route.path for route in routes], settings.limits.requests, settings.log)
    app.state.gate = gate
    return gate


def _routes(service: Service) -> list[Route]:
    described = document()

    def route(path: str, answer: Callable[[Service, Request], Awaitable[Response]], method: str = "GET") -> Route:
        async def endpoint(request: Request) -> Response:
            return await answer(service, request)

        return Route(path, endpoint, methods=[method])

    def fixed(path: str, response: Response) -> Route:
        async def endpoint(_: Request) -> Response:
            return Response(response.body, headers=dict(response.headers))

        return Route(path, endpoint, methods=["GET"])

    return [
        route("/translate", libre_translate, "POST"),
        route("/languages", languages),
        route("/frontend/settings", frontend_settings),
        route("/v1/translate", translate, "POST"),
        route("/v1/models", list_models),
        route("/health", health),
        route("/ready", ready),
        route("/metrics", metrics),
        fixed("/openapi.json", JSONResponse(described)),
        fixed("/docs", HTMLResponse(docs_page(described))),
        fixed("/", HTMLResponse(PAGE)),
        fixed("/style.css", Response(STYLE, media_type="text/css")),
        fixed("/script.js", Response(SCRIPT, media_type="text/javascript")),
    ]


async def libre_translate(service: Service, request: Request) -> Response:
    """``POST /translate``, in LibreTranslate's form."""
    begun = time.monotonic()
    body = await read_body(request, service.settings.limits)
    if is_form(request.headers):
        asked = await parse_form(LibreRequest, body, request.headers)
    else:
        asked = parse_json(LibreRequest, body)
    service.admit(request, asked.api_key)
    service.check_alternatives(asked.alternatives)
    model = service.models.find(asked.source, asked.target)
    texts = [asked.q] if isinstance(asked.q, str) else asked.q
    pages = [Markup(text) for text in texts] if asked.format == "html" else []
    nodes = [text for page in pages for text in page.texts] if pages else texts
    service.check_size(nodes, texts if pages else ())
    wanted = Asked(1 if pages else 1 + asked.alternatives)
    answers = await _translate(service, request, model, nodes, wanted, begun)
    found = [answer.found.translation for answer in answers]
    for number, one in enumerate(found):
        if one.error is not None:
            place = "q" if isinstance(asked.q, str) or pages else f"q[{number}]"
            raise RequestError(400, f"{place}: {one.error}")
    detected = model.source if asked.source == AUTO else None
    return JSONResponse(libre_answer(asked, pages, found, detected))


async def translate(service: Service, request: Request) -> Response:
    """``POST /v1/translate``."""
    begun = time.monotonic()
    body = await read_body(request, service.settings.limits)
    if is_form(request.headers):
        raise RequestError(415, "the body must be JSON, but is a form")
    asked = parse_json(TranslateRequest, body)
    service.admit(request, asked.api_key)
    service.check_alternatives(asked.alternatives)
    service.check_size(asked.texts, [*asked.glossary, *asked.glossary.values()])
    model = service.models.find(asked.source, asked.target)
    options = _checked_options(model, asked.options, service.settings.limits.search)
    wanted = Asked(
        1 + asked.alternatives,
        asked.search,
        asked.alignment,
        asked.canvas,
        tuple(sorted(options.items())),
        tuple(asked.glossary.items()),
    )
    answers = await _translate(service, request, model, asked.texts, wanted, begun)
    rows = [translated(answer, begun) for answer in answers]
    return JSONResponse({"source": model.source, "target": model.target, "translations": rows})


def _checked_options(model: Model, options: Mapping[str, Any], most: int) -> dict[str, Any]:
    """Check options of the search; a RequestError refuses them."""
    known = model.options
    if unknown := len(options.keys() - known.keys()):
        raise RequestError(400, f"options must be {', '.join(known)}, but {unknown} other(s) are given")
    for name, value in options.items():
        allowed = max(most, known[name]) if isinstance(known[name], int) else LARGEST_WEIGHT
        if abs(value) > allowed:
            raise RequestError(400, f"options: {name} must be at most {allowed}, but is {value:.3g}")
    try:
        check_options(options, known, "options")
    except ValueError as error:
        raise RequestError(400, str(error)) from error
    return dict(options)


async def _translate(
    service: Service, request: Request, model: Model, texts: Sequence[str], asked: Asked, begun: float
) -> list[Answer]:
    """Translate within the time that is left, as long as the client is there."""
    timeout = service.settings.limits.timeout
    if asked.options or asked.search != "auto" or asked.nbest > 1:
        try:
            model.translator.check(asked.nbest, asked.search, **dict(asked.options))
        except ValueError as error:
            raise RequestError(400, model.fault(error)) from error
    work = service.batcher(model).translate(texts, asked)
    try:
        return await _while_there(request, work, timeout - (time.monotonic() - begun))
    except asyncio.TimeoutError:
        raise RequestError(504, f"the answer must come within {timeout:g} s, but did not; ask for less") from None
    except ValueError as error:  # of a glossary
        raise RequestError(400, model.fault(error)) from error


async def _while_there(request: Request, work: Coroutine[Any, Any, list[Answer]], seconds: float) -> list[Answer]:
    """Await work, and cancel it if its client goes or the time is over."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = [asyncio.create_task(work), asyncio.create_task(gone())]
    try:
        done, _ = await asyncio.wait(tasks, timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED)
        if tasks[0] in done:
            return tasks[0].result()  # type: ignore[return-value]
        raise ClientDisconnect if done else asyncio.TimeoutError
    finally:
        for task in tasks:
            task.cancel()


async def languages(service: Service, request: Request) -> Response:
    """``GET /languages``, in LibreTranslate's form."""
    return JSONResponse(service.models.languages())


async def frontend_settings(service: Service, request: Request) -> Response:
    """``GET /frontend/settings``, in LibreTranslate's form."""
    first = next(iter(service.models.all))
    source, target = ({"code": code, "name": language_name(code)} for code in first)
    return JSONResponse(
        {
            "apiKeys": bool(service.keys),
            "keyRequired": bool(service.keys),
            "charLimit": service.settings.limits.characters,
            "frontendTimeout": TYPING_PAUSE,
            "language": {"source": source, "target": target},
            "suggestions": False,
            "filesTranslation": False,
            "supportedFilesFormat": [],
        }
    )


async def list_models(service: Service, request: Request) -> Response:
    """``GET /v1/models``."""
    return JSONResponse([model.describe() for model in service.models.all.values()])


async def health(service: Service, request: Request) -> Response:
    """``GET /health``: the process answers."""
    return JSONResponse({"status": "ok"})


async def ready(service: Service, request: Request) -> Response:
    """``GET /ready``: whether it takes requests; not while it ends."""
    if request.app.state.gate.ending:
        return JSONResponse({"status": "ending"}, 503)
    return JSONResponse({"status": "ready"})


async def metrics(service: Service, request: Request) -> Response:
    """``GET /metrics``, in Prometheus' form."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")
