"""How the page of the API begins: keys, jobs, sending again, lists and errors."""

TEXT = """\
Batches of generation jobs, training jobs and their outputs. Under `/v1` the shapes of the OpenAI
API, so that its SDK works unchanged; under `/api/v1` everything the system can do.

### Keys

Send `Authorization: Bearer atl_…` with every request. Each operation says which scope its key
needs; a key with the scope `admin` may do everything, and makes others with `POST /api/v1/keys`.
What belongs to another tenant is answered as if it did not exist (404).

### Jobs

`POST /api/v1/jobs` answers 202 once the job is safely stored. Ask for it with
`GET /api/v1/jobs/{id}`, follow it with `GET /api/v1/jobs/{id}/events` and
`Accept: text/event-stream`, or register a webhook and be called. Its outputs are at
`GET /api/v1/jobs/{id}/outputs`, their bytes at `GET /api/v1/outputs/{id}/content`.

### Sending a request again

An operation that takes the header `Idempotency-Key` creates nothing twice: the same key with the
same request gets the same answer for at least a day; with another request it is refused (422).
Any other POST refuses the header (400), so that nobody takes it for safe to repeat.

After a 5xx, nothing was created, with one exception: a call under `/v1` that waits for what it asks
for is a job as well. Its 503 `busy` leaves that cancelled, and may be sent again. Its 500
`generation_failed` leaves it failed, after every attempt, and what these took counts as used; it
comes with `x-should-retry: false`, since another call would end the same. `Retry-After` says in how
many seconds to try again.

### Lists

A list answers `data`, `first_id`, `last_id` and `has_more`, newest first. Go on with
`after={last_id}` while `has_more` is true, or back with `before={first_id}`; `limit` and `order`
say how much and in which direction. What is no id of the list's kind is refused. Its other
parameters are filters, and together they narrow: of a job's items and outputs `custom_id` finds
those of one of your own requests. Every page costs the same.

### Errors

Whatever is not a success has the body `{"error": {"message", "type", "param", "code"}}`.
`param` names the field at fault, `code` is one of a published list, `message` says what to do. An
unknown field or filter is refused with its name. Every answer has the header `x-request-id`; name
it when you report a fault.
"""
