"""Metrics of a server, in Prometheus' form."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TOKENS = (16, 64, 256, 1024, 4096)


class Metrics:
    """The counters of a server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "bnb_requests", "requests that were answered", ["route", "status"], registry=self._registry
        )
        self.seconds = Histogram(
            "bnb_request_seconds", "time of an answer", ["route"], buckets=SECONDS, registry=self._registry
        )
        self.running = Gauge("bnb_requests_running", "requests that are being answered", registry=self._registry)
        names = ["source", "target"]
        self._queue = Gauge("bnb_queue_texts", "texts that wait", names, registry=self._registry)
        self._texts = Histogram("bnb_batch_texts", "texts of a batch", names, buckets=TEXTS, registry=self._registry)
        self._tokens = Histogram(
            "bnb_batch_tokens", "source tokens of a batch", names, buckets=TOKENS, registry=self._registry
        )
        self._batch_seconds = Histogram(
            "bnb_batch_seconds", "time of a batch", names, buckets=SECONDS, registry=self._registry
        )
        self._source_tokens = Counter("bnb_source_tokens", "source tokens", names, registry=self._registry)

    def of_model(self, source: str, target: str) -> "ModelMetrics":
        """Return the counters of a model."""
        return ModelMetrics(
            self._queue.labels(source, target),
            self._texts.labels(source, target),
            self._tokens.labels(source, target),
            self._batch_seconds.labels(source, target),
            self._source_tokens.labels(source, target),
        )

    def text(self) -> bytes:
        """Return all counters, for ``GET /metrics``."""
        return generate_latest(self._registry)


class ModelMetrics:
    """The counters of a model, which its queue fills.

    Args:
        queue: texts that wait.
        texts: of a batch.
        tokens: of a batch.
        seconds: of a batch.
        source_tokens: of all batches.
    """

    def __init__(
        self, queue: Gauge, texts: Histogram, tokens: Histogram, seconds: Histogram, source_tokens: Counter
    ) -> None:
        self._queue, self._texts, self._tokens = queue, texts, tokens
        self._seconds, self._source_tokens = seconds, source_tokens

    def waiting(self, texts: int) -> None:
        """Note how many texts wait."""
        self._queue.set(texts)

    def translated(self, texts: int, tokens: int, seconds: float) -> None:
        """Note a batch."""
        self._texts.observe(texts)
        self._tokens.observe(tokens)
        self._seconds.observe(seconds)
        self._source_tokens.inc(tokens)
