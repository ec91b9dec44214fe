"""What each route answers."""

import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from bnb_fairseq.serving.limits import Limits
from bnb_fairseq.serving.models import Models
from bnb_fairseq.serving.schemas import TranslateAnswer

from .conftest import Capitals, serving

PAIR = {"source": "en", "target": "de"}
SMALL = Limits(body=2000, texts=3, characters=40, alternatives=2, search=5, queue=3)


def test_libretranslate_forms(client: TestClient) -> None:
    """JSON and both kinds of forms, a text and a list, with and without alternatives."""
    text = {"q": "open it", **PAIR}
    for answer in (
        client.post("/translate", json=text),
        client.post("/translate", data=text),
        client.post("/translate", files={name: (None, value) for name, value in text.items()}),
        client.post("/translate", data={**text, "format": "text", "secret": "x", "api_key": ""}),
    ):
        assert (answer.status_code, answer.json()) == (200, {"translatedText": "OPEN IT"})
    answer = client.post("/translate", json={**text, "q": ["open it", "", "b"], "alternatives": 2, "source": "auto"})
    assert answer.json() == {
        "translatedText": ["OPEN IT", "", "B"],
        "alternatives": [["OPEN IT 1", "OPEN IT 2"], [" 1", " 2"], ["B 1", "B 2"]],
        "detectedLanguage": [{"confidence": 0.0, "language": "en"}] * 3,
    }
    answer = client.post("/translate", data={**text, "q": ["a", "b"], "alternatives": "1"})
    assert answer.json() == {"translatedText": ["A", "B"], "alternatives": [["A 1"], ["B 1"]]}


def test_html_keeps_its_tags(client: TestClient) -> None:
    page = '<p class="a b">open <b>it</b> &amp; go</p><script>x < y</script>'
    answer = client.post("/translate", json={"q": page, **PAIR, "format": "html", "alternatives": 1})
    expected = '<p class="a b">OPEN <b>IT</b> &amp; GO</p><script>x < y</script>'
    assert answer.json() == {"translatedText": expected, "alternatives": []}
    answer = client.post("/translate", json={"q": [page, "<br>"], **PAIR, "format": "html"})
    assert answer.json() == {"translatedText": [expected, "<br>"]}


def test_lists_of_languages(capitals: Capitals) -> None:
    with serving(capitals, capitals, languages=["en-de", "xx-de"]) as client:
        assert client.get("/languages").json() == [
            {"code": "de", "name": "German", "targets": []},
            {"code": "en", "name": "English", "targets": ["de"]},
            {"code": "xx", "name": "xx", "targets": ["de"]},
        ]
        found = client.get("/frontend/settings").json()
        assert found["language"] == {
            "source": {"code": "en", "name": "English"},
            "target": {"code": "de", "name": "German"},
        }
        assert (found["charLimit"], found["keyRequired"]) == (20_000, False)
        answer = client.post("/translate", json={"q": "a", "source": "auto", "target": "de"})
        assert answer.json() == {"error": "source and target must be one of en-de, xx-de, but are not given"}
        answer = client.post("/translate", json={"q": "a", "source": "en", "target": "fr"})
        assert (answer.status_code, answer.json()) == (
            400,
            {"error": "target must be one of de, but is another language"},
        )
        answer = client.post("/v1/translate", json={"texts": ["a"], "source": "fr"})
        assert answer.json() == {"error": "source must be one of en, xx for this target, but is another language"}


def test_two_folders_of_the_same_languages(capitals: Capitals) -> None:
    with pytest.raises(ValueError, match=r"several have en-de$"), serving(capitals, capitals, languages=["en-de"] * 2):
        pass
    assert Models([]).all == {}


def test_all_that_the_model_says(client: TestClient, capitals: Capitals) -> None:
    wanted = {"alternatives": 1, "alignment": True, "canvas": True, "search": "none", "glossary": {"open": "auf"}}
    answer = client.post("/v1/translate", json={"texts": ["open it", "x " * 21], **wanted, "options": {"ctc_beam": 4}})
    TranslateAnswer.model_validate_json(answer.content, strict=True)
    one, failed = answer.json()["translations"]
    assert one.pop("milliseconds") > 0
    slot = {"symbol": None, "probability": 0.5, "again": False, "kept": False}
    assert one == {
        "text": "OPEN IT",
        "score": -0.5,
        "alternatives": [{"text": "OPEN IT 1", "score": -1.0}],
        "tokens": [{"token": word, "confidence": 0.25, "word": i} for i, word in enumerate(("OPEN", "IT"))],
        "alignment": [[0], [1]],
        "written": [{"source": "open it", "passes": [{"text": "OPEN IT", "slots": [slot]}]}],
    }
    assert (failed["text"], failed["score"], failed["error"]) == ("", None, "the text is too long")
    assert capitals.batches[0][1] == {
        "nbest": 2,
        "search": "none",
        "alignment": True,
        "glossary": {"open": "auf"},
        "ctc_beam": 4,
    }
    answer = client.post("/translate", json={"q": ["a", "x " * 21], **PAIR})
    assert (answer.status_code, answer.json()) == (400, {"error": "q[1]: the text is too long"})


def test_a_model_that_is_described(client: TestClient) -> None:
    (found,) = client.get("/v1/models").json()
    assert found["options"] == {"ctc_beam": 3, "ctc_lm_weight": 0.4, "iter_decode_max_iter": 0}
    assert (found["refines"], found["searches"], found["longest"]) == (False, True, 20)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"texts": []}, 400, "texts must have at least 1 item after validation, not 0 (texts), but is something else"),
        ({}, 400, "texts must be given (texts), but is missing"),
        ([], 400, "the body must be an object with fields, but is not"),
        ({"texts": "a"}, 400, "texts must be a valid list (texts)"),
        ({"texts": [1]}, 400, "texts must be a valid string (texts)"),
        ({"texts": ["a"], "other": 1}, 400, "the fields must be texts, source, target, alternatives"),
        ({"texts": ["a"] * 4}, 400, "texts must be at most 3, but are 4"),
        ({"texts": ["a" * 41]}, 400, "characters must be at most 40, but are 41"),
        ({"texts": ["a"], "glossary": {"b" * 20: "c" * 20}}, 400, "characters must be at most 40, but are 41"),
        ({"texts": ["a"], "alternatives": 3}, 400, "alternatives must be at most 2, but are 3"),
        ({"texts": ["a"], "alternatives": -1}, 400, "alternatives must be greater than or equal to 0 ("),
        ({"texts": ["a"], "options": {"ctc_beam": 6}}, 400, "options: ctc_beam must be at most 5, but is 6"),
        ({"texts": ["a"], "options": {"ctc_beam": 1.5}}, 400, "options: ctc_beam must be of type int, but is 1.5"),
        ({"texts": ["a"], "options": {"ctc_beam": True}}, 400, "options: ctc_beam must be of type int, but is True"),
        ({"texts": ["a"], "options": {"max_len_b": 5}}, 400, "options must be ctc_beam, ctc_lm_weight, iter_dec"),
        ({"texts": ["a"], "options": {"iter_decode_max_iter": 1}}, 400, "--iter-decode-max-iter must be 0, but is mo"),
        (
            {"texts": ["a"], "options": {"ctc_lm_weight": -1e9}},
            400,
            "options: ctc_lm_weight must be at most 100.0, but",
        ),
        (
            {"texts": ["a"], "options": {"ctc_lm_weight": 7}},
            400,
            "--ctc-lm-path must stand beside --ctc-beam, but is lm.ar",
        ),
        ({"texts": ["a"], "options": {"ctc_lm_weight": "1"}}, 400, "options must be a valid "),
        ({"texts": ["a"], "search": "all"}, 400, "search must be 'auto' or 'none' (auto: the model's own search"),
        ({"texts": ["a"], "glossary": {"": "b"}}, 400, "a term must not be empty"),
        ({"texts": ["a"], "source": "a" * 3000}, 413, "the body must have at most 2,000 bytes, but has 3,0"),
    ],
)
def test_what_is_refused(body: Any, status: int, said: str) -> None:
    with serving(Capitals(), limits=SMALL) as client:
        answer = client.post("/v1/translate", json=body)
        assert answer.status_code == status
        assert list(answer.json()) == ["error"]
        assert answer.json()["error"].startswith(said)
        assert client.post("/v1/translate", json={"texts": ["a"]}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"texts": ["\xff"]}',
        b'{"texts": ["\\ud800"]}',
        b'{"texts": [NaN]}',
        b'{"texts": ["a"], "options": {"ctc_lm_weight": NaN}}',
        b'{"texts": ["a"], "options": {"ctc_lm_weight": Infinity}}',
        b'{"texts": ["a"], "options": {"ctc_beam": 99999999999999999999999999}}',
        b'{"texts": ["a"], "alternatives": 99999999999999999999999999}',
        b"[" * 100_000,
        b'{"texts":' * 50_000,
        b'{"texts": ["a"], "glossary": ' + b'{"a":' * 5000,
        b"null",
        b'"text"',
    ],
)
def test_bodies_that_are_no_request(body: bytes, client: TestClient) -> None:
    for path in ("/v1/translate", "/translate"):
        answer = client.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400
        assert list(json.loads(answer.content)) == ["error"]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", b"q=%ff&source=en&target=de"),
        ("application/x-www-form-urlencoded", b"q=\xff&source=en&target=de"),
        ("application/x-www-form-urlencoded", b"a=1&" * 300),
        ("application/x-www-form-urlencoded", b"q=a&source=en"),
        ("application/x-www-form-urlencoded", b"q=a&source=en&source=de&target=de"),
        ("application/x-www-form-urlencoded", b"q=a&source=en&target=de&alternatives=many"),
        ("multipart/form-data", b"q=a"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n\r\n--x--"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="q"; filename="a"\r\n\r\na'),
    ],
)
def test_forms_that_are_no_request(kind: str, body: bytes, client: TestClient) -> None:
    answer = client.post("/translate", content=body, headers={"content-type": kind})
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert client.post("/v1/translate", content=body, headers={"content-type": kind}).status_code == 415


def test_failures_say_nothing(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    """Neither to the client nor in the log: no text, no path in the answer; the next request is answered."""
    with caplog.at_level(logging.DEBUG):
        answer = client.post("/v1/translate", json={"texts": ["boom"]})
        client.post("/translate", json={"q": "a secret text", "source": "secret", "target": "de"})
    assert (answer.status_code, answer.json()) == (500, {"error": "the server failed"})
    assert "RuntimeError at " in caplog.text
    assert "secret" not in caplog.text and "boom" not in caplog.text.replace("boom:", "boom:")
    assert client.post("/v1/translate", json={"texts": ["a"]}).json()["translations"][0]["text"] == "A"


def test_routes_that_there_are_not(client: TestClient) -> None:
    for method, path, status in (("GET", "/x", 404), ("GET", "/translate", 405), ("PUT", "/", 405)):
        answer = client.request(method, path)
        assert (answer.status_code, list(answer.json())) == (status, ["error"])


def test_keys() -> None:
    with serving(Capitals(), keys=["one", "two"]) as client:
        body = {"q": "a", **PAIR}
        answer = client.post("/translate", json=body)
        assert (answer.status_code, answer.json()) == (401, {"error": "api_key must be given, but is missing"})
        answer = client.post("/translate", data={**body, "api_key": "three"})
        assert answer.status_code == 403
        assert client.post("/translate", data={**body, "api_key": "two"}).status_code == 200
        for headers in ({"authorization": "Bearer one"}, {"x-api-key": "two"}):
            assert client.post("/v1/translate", json={"texts": ["a"]}, headers=headers).status_code == 200
        assert client.post("/v1/translate", json={"texts": ["a"], "api_key": "One"}).status_code == 403
        assert client.get("/frontend/settings").json()["keyRequired"] is True


def test_rate_of_a_key() -> None:
    with serving(Capitals(), keys=["one", "two"], limits=Limits(rate=2)) as client:
        bodies = [{"texts": ["a"], "api_key": key} for key in ("one", "one", "one", "two")]
        answers = [client.post("/v1/translate", json=body) for body in bodies]
        assert [answer.status_code for answer in answers] == [200, 200, 429, 200]
        assert 1 <= int(answers[2].headers["retry-after"]) <= 31


def test_other_sites(capitals: Capitals) -> None:
    """Get no headers of CORS unless they are named."""
    headers = {"origin": "https://a.example"}
    for origins, expected in (([], None), (["https://a.example"], "https://a.example"), (["https://b.example"], None)):
        with serving(capitals, origins=origins) as client:
            answer = client.get("/languages", headers=headers)
            assert answer.headers.get("access-control-allow-origin") == expected
            assert "server" not in answer.headers
            assert answer.headers["x-content-type-options"] == "nosniff"


def test_time_and_queue() -> None:
    """504 after the time, 503 with Retry-After where the queue is full; what is left is taken out of the queue."""
    capitals = Capitals()
    with serving(capitals, limits=Limits(texts=3, queue=3, timeout=0.3), wait=0.0) as client:
        capitals.go.clear()
        assert client.post("/v1/translate", json={"texts": ["a"]}).status_code == 504  # its batch still runs
        answer = client.post("/v1/translate", json={"texts": ["b", "c", "d"]})
        assert (answer.status_code, answer.json()) == (
            504,
            {"error": "the answer must come within 0.3 s, but did not; ask for less"},
        )
        assert 'bnb_queue_texts{source="en",target="de"} 0.0' in client.get("/metrics").text
        capitals.go.set()
        assert client.post("/v1/translate", json={"texts": ["e"]}).status_code == 200
        assert [texts for texts, _ in capitals.batches] == [["a"], ["e"]]


def test_requests_at_the_same_time() -> None:
    """One too many is refused before its body is read; whether the server is well can be asked at any time."""
    capitals = Capitals()
    with serving(capitals, limits=Limits(requests=2)) as client, ThreadPoolExecutor(2) as threads:
        capitals.go.clear()
        running = []
        for _ in range(2):
            running.append(threads.submit(client.post, "/v1/translate", json={"texts": ["a"]}))
            time.sleep(0.3)
        assert "bnb_requests_running 3.0" in client.get("/metrics").text
        answer = client.post("/v1/translate", content=b"{")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert {client.get(path).status_code for path in ("/health", "/ready")} == {200}
        capitals.go.set()
        assert [one.result().status_code for one in running] == [200, 200]
        assert client.post("/v1/translate", content=b"{").status_code == 400


def test_counters(client: TestClient) -> None:
    client.post("/v1/translate", json={"texts": ["a b", "c"]})
    client.get("/secret-path")
    found = client.get("/metrics").text
    for line in (
        'bnb_requests_total{route="/v1/translate",status="200"} 1.0',
        'bnb_requests_total{route="other",status="404"} 1.0',
        'bnb_source_tokens_total{source="en",target="de"} 7.0',
        'bnb_batch_texts_sum{source="en",target="de"} 2.0',
    ):
        assert line in found
    assert "secret" not in found


def test_documents_of_the_interface(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    page = client.get("/docs").text
    for path, methods in described["paths"].items():
        assert client.request(next(iter(methods)), path).status_code in (200, 400)
        assert f" {path}</code>" in page
    assert "http" not in page.replace("</html>", "").replace("HTTP", "")
    assert "alternatives" in page


def test_pages_of_others_cannot_frame_it(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert {client.get(f"/{name}").status_code for name in ("style.css", "script.js")} == {200}
