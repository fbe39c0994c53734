"""Tell someone when a flow fails: a JSON message to the address in ADLOOM_NOTIFY_URL, if there is one."""

import json
import logging
import os
import urllib.request
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import FlowRun, State

logger = logging.getLogger(__name__)

ADDRESS_VARIABLE = "ADLOOM_NOTIFY_URL"


def tell_failure(flow: "Flow[..., Any]", flow_run: "FlowRun", state: "State[Any]") -> None:
    """Post which flow failed and why; a message that cannot be delivered is logged and changes nothing.

    Args:
        flow: the flow.
        flow_run: its run.
        state: its last state.
    """
    address = os.environ.get(ADDRESS_VARIABLE, "")
    if not address.startswith(("http://", "https://")):
        return
    message = {
        "flow": flow.name,
        "run": flow_run.name,
        "state": state.name,
        "text": f"adloom {flow.name} {state.name}: {state.message or ''}",
    }
    request = urllib.request.Request(
        address, data=json.dumps(message).encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except OSError as error:
        logger.warning("%s did not take the message: %s", ADDRESS_VARIABLE, error)
