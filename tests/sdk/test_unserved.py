"""What no model here serves answers so, whatever OpenAI's own client sends of it."""

from collections.abc import Callable, Iterator

import openai
import pytest
from openai import OpenAI

from api.app import create_app
from tests.threads import served

# OpenAI has deprecated some of these calls itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SOUND = ("a.wav", b"RIFF")
PICTURE = ("a.png", b"\x89PNG")

CALLS: tuple[tuple[str, Callable[[OpenAI], object]], ...] = (
    (
        "/v1/audio/speech",
        lambda client: client.audio.speech.create(
            model="tts-1", voice="alloy", input="Once upon a time"
        ),
    ),
    (
        "/v1/audio/transcriptions",
        lambda client: client.audio.transcriptions.create(model="whisper-1", file=SOUND),
    ),
    (
        "/v1/audio/translations",
        lambda client: client.audio.translations.create(model="whisper-1", file=SOUND),
    ),
    ("/v1/images/edits", lambda client: client.images.edit(image=PICTURE, prompt="A hat.")),
    ("/v1/images/variations", lambda client: client.images.create_variation(image=PICTURE)),
    ("/v1/moderations", lambda client: client.moderations.create(input="Once upon a time")),
    ("/v1/responses", lambda client: client.responses.create(model="stories", input="Hello.")),
    ("/v1/videos", lambda client: client.videos.create(prompt="A cat.")),
    ("/v1/videos", lambda client: client.videos.list(limit=1)),
    ("/v1/videos/video_1", lambda client: client.videos.retrieve("video_1")),
    ("/v1/videos/video_2", lambda client: client.videos.delete("video_2")),
    ("/v1/videos/video_1/content", lambda client: client.videos.download_content("video_1")),
    ("/v1/videos/video_1/remix", lambda client: client.videos.remix("video_1", prompt="A dog.")),
)
"""Each with the address that it asks."""


@pytest.fixture
def client(api_key: str) -> Iterator[OpenAI]:
    """The client, as a user would make it; no worker is needed."""
    with (
        served(create_app()) as address,
        OpenAI(base_url=f"{address}/v1", api_key=api_key, timeout=60) as made,
    ):
        yield made


def test_each_call_is_told_that_no_model_serves_it_and_which_addresses_are_served(
    client: OpenAI,
) -> None:
    for address, call in CALLS:
        with pytest.raises(openai.BadRequestError) as refused:
            call(client)

        error = refused.value
        assert (error.code, error.param) == ("endpoint_not_served", None), address
        assert f"{address} is not served by any model here" in error.message
        assert "/v1/chat/completions" in error.message


def test_who_sends_no_valid_key_is_told_that_first(client: OpenAI) -> None:
    stranger = client.with_options(api_key="wrong")

    for _, call in CALLS:
        with pytest.raises(openai.AuthenticationError):
            call(stranger)
