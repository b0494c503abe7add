"""The backend of Label Studio: its client calls health, setup and predict."""

import time
from typing import Any

import pytest
from starlette.testclient import TestClient

CONFIG = """
<View>
  <!-- people and places -->
  <Labels name="entities" toName="story">
    <Label value="Person" predicted_values="PER,PERSON"/>
    <Label value="LOC" alias="place"/>
  </Labels>
  <Text name="story" value="$body"/>
</View>
"""
PROJECT = {"project": "7.1700000000", "hostname": "http://localhost:8080", "access_token": "x"}


def predict(client: TestClient, config: str | None, *data: Any, path: str = "/predict") -> Any:
    """Returns the answer to the request that Label Studio sends for predictions."""
    tasks = [{"id": number, "data": each} for number, each in enumerate(data)]
    parameters = {"login": None, "password": None, "context": None}
    body = {"tasks": tasks, "label_config": config, "project": PROJECT["project"], "params": parameters}
    return client.post(path, json=body | {"model_version": "first-1"})


def test_a_project_is_connected(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "UP"}
    response = client.post("/setup", json=PROJECT | {"schema": CONFIG})
    assert response.json() == {"model_version": "first-1"}
    response = client.post("/models/documents/setup", json=PROJECT | {"schema": CONFIG})
    assert response.json() == {"model_version": "documents-1"}
    assert client.get("/models/documents/health").status_code == 200


def test_predictions_have_the_names_of_the_labelling_interface(client: TestClient) -> None:
    answer = predict(client, CONFIG, {"body": "Ada lives in New York.", "other": "x"}, {"body": "no one"}).json()
    first, second = answer["results"]
    assert [(each["from_name"], each["to_name"], each["type"], each["value"]) for each in first["result"]] == [
        ("entities", "story", "labels", {"start": 0, "end": 3, "text": "Ada", "labels": ["Person"]}),
        ("entities", "story", "labels", {"start": 13, "end": 21, "text": "New York", "labels": ["place"]}),
    ]
    assert first["model_version"] == "first-1"
    assert 0 < first["score"] == min(each["score"] for each in first["result"]) <= 1
    assert second == {"result": [], "score": 1.0, "model_version": "first-1"}


def test_types_without_a_label_are_left_out(client: TestClient) -> None:
    config = CONFIG.replace('<Label value="LOC" alias="place"/>', "")
    (result,) = predict(client, config, {"body": "Ada lives in New York."}).json()["results"][0]["result"]
    assert result["value"]["labels"] == ["Person"]


def test_without_a_labelling_interface_the_usual_names_are_used(client: TestClient) -> None:
    response = predict(client, None, {"text": "Ada lives in Oslo."}, path="/models/documents/predict")
    result = response.json()["results"][0]["result"][0]
    assert (result["from_name"], result["to_name"], result["value"]["labels"]) == ("label", "text", ["PER"])


@pytest.mark.parametrize(
    ("config", "data", "message"),
    [
        ("<!-- a --><!ENTITY b 'c'><View/>", {"text": "Ada"}, "has a declaration"),
        ("<View>", {"text": "Ada"}, "the labelling interface is not valid XML"),
        ("<View/>", {"text": "Ada"}, "expected an element Labels with toName of an element Text"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><View/>', {"text": "Ada"}, "has a declaration"),
        (CONFIG, {"text": "Ada"}, "task 1: expected a text as 'body' in its data"),
        (CONFIG, {"body": 3}, "task 1: expected a text as 'body' in its data"),
        (None, {"a": "Ada", "b": "Alan"}, "task 1: expected a text as 'text' in its data"),
        (CONFIG, "Ada", "task 1: expected a text"),
    ],
)
def test_faults_of_a_project_are_named(client: TestClient, config: str | None, data: Any, message: str) -> None:
    response = predict(client, config, data)
    assert response.status_code == 422
    assert message in response.json()["errors"][0]


def test_many_openings_of_comments_are_refused_at_once(client: TestClient) -> None:
    start = time.monotonic()
    response = client.post("/setup", json=PROJECT | {"schema": "<!--" * 200_000})
    assert time.monotonic() - start < 2  # a search for the end of each one takes minutes
    assert response.status_code == 422
