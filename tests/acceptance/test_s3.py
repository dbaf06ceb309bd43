"""The main job with its objects in a real S3 server: uploads, data set, model, outputs, links."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import pytest
from openai import OpenAI

from api.demo.material import digits_archive
from shared.storage import storage
from tests.benchmarks.installation import Installation, installation
from tests.ceph import Ceph


@pytest.fixture(scope="module")
def site(s3_server: Ceph) -> Iterator[Installation]:
    credentials = {
        "aws_access_key_id": s3_server.access_key,
        "aws_secret_access_key": s3_server.secret_key,
    }
    client = boto3.client(
        "s3", endpoint_url=s3_server.endpoint, region_name="us-east-1", **credentials
    )
    client.create_bucket(Bucket="works")
    variables = {
        "ATELIER_STORAGE_URL": "s3://works/atelier",
        "ATELIER_S3_ENDPOINT": s3_server.endpoint,
        "ATELIER_S3_PUBLIC_ENDPOINT": s3_server.endpoint,
        "ATELIER_S3_ACCESS_KEY": s3_server.access_key,
        "ATELIER_S3_SECRET_KEY": s3_server.secret_key,
    }
    with installation(**variables) as running:
        yield running


def test_the_whole_job_runs_on_s3_and_leaves_nothing_in_the_folder(site: Installation) -> None:
    client = site.client
    file = client.upload("digits.zip", digits_archive())
    dataset = client.post(
        "/api/v1/datasets",
        {"name": "digits", "modality": "image", "files": [file], "options": {"size": 16}},
    )
    client.wait(dataset["job"], lambda _: None)
    body = {"kind": "training", "family": "conditional_gan", "dataset": dataset["id"]}
    training = client.post(
        "/api/v1/jobs", {**body, "model": "digits", "params": {"max_steps": 4, "width": 16}}
    )
    client.wait(training["id"], lambda _: None)
    items = [{"params": {"label": str(label)}} for label in range(10)]
    job = client.post("/api/v1/jobs", {"kind": "generation", "model": "digits", "items": items})
    client.wait(job["id"], lambda _: None)

    outputs = list(client.all(f"/api/v1/jobs/{job['id']}/outputs"))
    assert len(outputs) == 10
    for output in outputs:
        content = client.content(f"/api/v1/outputs/{output['id']}/content")
        assert hashlib.sha256(content).hexdigest() == output["sha256"]
    assert list((Path(os.environ["ATELIER_HOME"]) / "objects").iterdir()) == []


def test_parts_become_one_object_and_nothing_else_is_left_of_them(site: Installation) -> None:
    content = os.urandom(20_000_000)
    with OpenAI(base_url=f"{site.address}/v1", api_key=site.key, timeout=120) as client:
        made = client.uploads.upload_file_chunked(
            file=content,
            filename="large.bin",
            bytes=len(content),
            mime_type="application/octet-stream",
            purpose="user_data",
            part_size=9_000_000,
            md5=hashlib.md5(content).hexdigest(),
        )
        assert made.file is not None
        assert client.files.content(made.file.id).read() == content

    left = list(storage().list(f"{site.tenant_id}/uploads/"))
    assert [(one.key.rpartition("/")[2], one.bytes) for one in left] == [
        (made.file.id, len(content))
    ]


def test_an_output_is_fetched_from_the_server_by_a_link_that_needs_no_key(
    site: Installation,
) -> None:
    (output, *_) = site.client.get("/api/v1/outputs")["data"]

    headers = {"Authorization": f"Bearer {site.key}"}
    answer = httpx.get(
        f"{site.address}/api/v1/outputs/{output['id']}/content",
        headers=headers,
        follow_redirects=False,
    )

    assert (answer.status_code, answer.content) == (302, b"")
    fetched = httpx.get(answer.headers["location"])
    assert hashlib.sha256(fetched.content).hexdigest() == output["sha256"]
