"""Uploads: what is taken, what is refused and how, and what is left behind, which is nothing."""

from uuid import UUID

import pytest
from contracts.facts import DocumentUploaded

from .conftest import Gateway, Person

PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj <<>> endobj\n%%EOF"


async def test_a_file_is_stored_said_and_shown(gateway: Gateway, ada: Person) -> None:
    answer = await ada.upload(("report.pdf", PDF, "application/pdf"))

    assert answer.status_code == 202
    [document] = answer.json()["documents"]
    assert document["status"] == "uploaded"
    assert document["duplicate"] is False
    assert answer.json()["rejected"] == []
    prefix = f"users/{ada.id}/documents/{document['id']}"
    assert await gateway.objects() == [f"{prefix}/about.json", f"{prefix}/raw"]
    [fact] = await gateway.said()
    assert isinstance(fact, DocumentUploaded)
    assert fact.document_id == UUID(document["id"])
    assert (await ada.document(fact.document_id))["sha256"] == fact.sha256
    timeline = (await ada.http.get(document["links"]["timeline"])).json()["items"]
    assert [item["event"] for item in timeline] == ["document.uploaded.v1"]
