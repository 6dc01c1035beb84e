"""GET /metrics: what Prometheus scrapes."""

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from service.access.scopes import READ

router = APIRouter(tags=["health"], dependencies=[READ])


_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}}


@router.get("/metrics", response_class=Response, responses={200: _TEXT})
def metrics(request: Request) -> Response:
    """This gateway's requests, and the state of the whole service, in Prometheus's text format."""
    body = generate_latest(request.app.state.metrics.registry)
    return Response(body, media_type=CONTENT_TYPE_PLAIN_0_0_4)
