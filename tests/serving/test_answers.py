"""What the server answers is what `tagger tag` writes."""

import json
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tagger import tag_files
from tagger.serving import worker as worker_module
from tagger.serving.limits import Limits
from tagger.serving.served_models import ServedModels
from tagger.tagging import Tagger
from tests.serving.clients import open_client

TEXTS = [
    "Ada lives in New York. Grace lives in Oslo.\nAlan lives in Paris.",
    "",
    "\ud800 Edsger\u00a0lives in \U0001f600 Lima \u2028 <b>Donald</b>",
    "Barbara lives in\nCairo .\n\n Ada lives in Quito .",
]
TOKENS = [["Ada", "lives", "in", "New", "York", "."], ["Grace", "lives", "in", "Oslo", "."]]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"probabilities": True},
    {"threshold": 0.999},
    {"nbest": 3, "probabilities": True},
    {"scheme": "BIOES", "nbest": 2},
    {"language": "de", "newline": "space"},
]


def tag_lines(model: Path, rows: list[dict[str, Any]], options: dict[str, Any]) -> list[Any]:
    """Returns what `tagger tag --from jsonl` writes for rows."""
    source, output = BytesIO("".join(f"{json.dumps(row)}\n" for row in rows).encode()), BytesIO()
    tag_files(model, "-", input_format="jsonl", streams=(source, output), device="cpu", **options)
    return [json.loads(line) for line in output.getvalue().splitlines()]


def close(value: Any) -> Any:
    """Returns a value in which probabilities equal others within 1e-5."""
    if isinstance(value, float):
        return pytest.approx(value, abs=1e-5)
    if isinstance(value, dict):
        return {name: close(inner) for name, inner in value.items()}
    return [close(inner) for inner in value] if isinstance(value, list) else value


def post(client: TestClient, path: str, **body: Any) -> Any:
    """Returns the JSON of a successful answer."""
    response = client.post(path, content=json.dumps(body))  # which may have lone surrogates
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", ["first", "documents"])
def test_texts_are_answered_as_tag_writes_them(
    client: TestClient, model_path: Path, document_model: Path, name: str, options: dict[str, Any]
) -> None:
    expected = tag_lines(model_path if name == "first" else document_model, [{"text": t} for t in TEXTS], options)
    answer = post(client, "/tag", model=name, texts=TEXTS, **options)
    assert answer == {"model": name, "documents": close(expected)}


@pytest.mark.parametrize("tokens", [TOKENS, TOKENS[0], []])
def test_tokens_are_answered_as_tag_writes_them(client: TestClient, model_path: Path, tokens: list[Any]) -> None:
    expected = tag_lines(model_path, [{"tokens": tokens}], {"probabilities": True})
    assert post(client, "/tag", tokens=tokens, probabilities=True)["documents"] == close(expected)


def test_a_text_is_one_document(client: TestClient) -> None:
    (document,) = post(client, "/tag", text=TEXTS[0])["documents"]
    assert [(span["type"], span["text"], span["start"]) for span in document["spans"]] == [
        ("PER", "Ada", 0),
        ("LOC", "New York", 13),
        ("PER", "Grace", 23),
        ("LOC", "Oslo", 38),
        ("PER", "Alan", 44),
        ("LOC", "Paris", 58),
    ]
    assert document["sentences"] == [[0, 6], [6, 11], [11, 16]]


def test_a_text_may_be_sent_without_a_content_type(client: TestClient) -> None:
    assert client.post("/tag", content=b'{"text": "Ada lives in Oslo."}').status_code == 200


def test_requests_of_many_clients_are_tagged_together_and_answered_alone(
    models: ServedModels, model_path: Path, document_model: Path
) -> None:
    names = ["Ada", "Grace", "Alan", "Barbara"] * 10
    texts = [f"{name} lives in Oslo. {number} is Paris." for number, name in enumerate(names)]
    expected = {
        "first": tag_lines(model_path, [{"text": text} for text in texts], {}),
        "documents": tag_lines(document_model, [{"text": text} for text in texts], {}),
    }
    with open_client(models, Limits(batch_wait=0.1)) as client, ThreadPoolExecutor(20) as threads:

        def ask(number: int) -> Any:
            name = ("first", "documents")[number % 2]
            (document,) = post(client, "/tag", model=name, text=texts[number])["documents"]
            return document | {"document": number} == expected[name][number]

        assert all(threads.map(ask, range(len(texts))))
        metrics = client.get("/metrics").text
    counts = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
    assert float(counts["tagger_batch_requests_sum"]) == len(texts)
    assert float(counts["tagger_batch_requests_count"]) < len(texts) / 2
    assert (
        float(counts['tagger_tokens_total{model="first"}'])
        == sum(len(each["tokens"]) for each in expected["first"]) / 2
    )
    assert float(counts['tagger_requests_total{path="/tag",status="200"}']) == len(texts)


def test_a_request_that_cannot_be_tagged_fails_alone(models: ServedModels, monkeypatch: pytest.MonkeyPatch) -> None:
    tag = Tagger.tag_pools

    def fail(self: Tagger, pools: Any, *options: Any) -> Any:
        if any("poison" in sentence.tokens for pool in pools for sentence in pool):
            raise RuntimeError("a fault of the text")
        return tag(self, pools, *options)

    monkeypatch.setattr(Tagger, "tag_pools", fail)
    texts = ["Ada lives in Oslo.", "poison", "Alan lives in Lima."]
    with open_client(models, Limits(batch_wait=0.2)) as client, ThreadPoolExecutor(3) as threads:
        responses = list(threads.map(lambda text: client.post("/tag", json={"text": text}), texts))
    assert [response.status_code for response in responses] == [200, 500, 200]
    assert responses[1].json() == {
        "status": 500,
        "errors": ["internal error; the log of the server has the details"],
    }
    assert responses[2].json()["documents"][0]["spans"][1]["text"] == "Lima"


def test_the_server_goes_on_after_a_fault_of_its_own(models: ServedModels, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_client(models) as client:
        with monkeypatch.context() as patch:
            patch.setattr(worker_module.Worker, "_reply", lambda *_: 1 / 0)
            assert client.post("/tag", json={"text": "Ada"}).status_code == 500
        assert client.post("/tag", json={"text": "Ada"}).status_code == 200
        assert client.get("/ready").status_code == 200


def test_doccano_gets_labels_with_offsets(client: TestClient) -> None:
    text = "Ada lives in \U0001f600 . Grace lives in New York."
    labels = post(client, "/doccano", text=text)
    assert labels[0] == {"label": "PER", "start_offset": 0, "end_offset": 3}
    assert labels[-1] == {"label": "LOC", "start_offset": 32, "end_offset": 40}
    assert text[32:40] == "New York"
    assert post(client, "/doccano", text="", model="documents") == []


def test_plain_tags_have_no_spans_for_annotation_tools(models: ServedModels, monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.find(None).tagger.model
    monkeypatch.setattr(type(model), "scheme", None)
    with open_client(models) as client:
        response = client.post("/doccano", json={"text": "Ada"})
    assert response.status_code == 422
    assert response.json()["errors"] == ["the tags of the model first are plain; annotation tools take spans"]


def test_the_models_are_listed_with_their_types(client: TestClient) -> None:
    first, documents = client.get("/models").json()["models"]
    assert first["name"] == "first"
    assert first["types"] == ["LOC", "PER"]
    assert (first["reads"], documents["reads"]) == ("sentences", "documents")
    assert first["colours"] == {"PER": 7, "LOC": 4}


def test_health_and_readiness_are_reported(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "UP"}
    assert client.get("/ready").json() == {"status": "ready"}
    assert client.get("/models/none/health").status_code == 404


def test_the_api_is_described_with_examples_that_work(client: TestClient) -> None:
    description = client.get("/openapi.json").json()
    assert description["openapi"].startswith("3.")
    tried = 0
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            examples = (
                operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("examples", {})
            )
            for example in examples.values():
                response = client.request(method, path.replace("{name}", "first"), json=example["value"])
                assert response.status_code == 200, (path, response.text)
                shown = operation["responses"]["200"]["content"]["application/json"]["example"]
                assert type(response.json()) is type(shown)
                if isinstance(shown, dict):
                    assert response.json().keys() == shown.keys()
                tried += 1
    assert tried == 8
    assert "https" not in json.dumps(description)
