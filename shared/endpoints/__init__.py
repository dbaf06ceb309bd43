"""The endpoints of the OpenAI API that models here can serve, by path."""

from shared.endpoint import Endpoint
from shared.endpoints import chat, completions, embeddings, images
from shared.errors import Invalid

ENDPOINTS: dict[str, Endpoint] = {
    module.ENDPOINT.path: module.ENDPOINT for module in (completions, chat, embeddings, images)
}

_UNSERVED = frozenset({"/v1/audio/speech", "/v1/videos"})


class NotServed(Invalid):
    """No model here serves this endpoint."""

    code = "endpoint_not_served"


def endpoint(path: str, *, param: str = "endpoint") -> Endpoint:
    """The endpoint of this path. Raises NotServed with the known ones."""
    found = ENDPOINTS.get(path)
    if found is not None:
        return found
    known = ", ".join(ENDPOINTS)
    if path in _UNSERVED:
        raise NotServed(
            f"{param}: {path} is not served by any model here; served: {known}", param=param
        )
    raise NotServed(f"{param}: there is no endpoint {path!r}; served: {known}", param=param)
