"""Settings, Automation: an organisation's webhooks and workflow rules, as the API makes and lists them."""

from __future__ import annotations

import itertools
import re
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tds_sandbox.errors import ApiError
from tds_sandbox.jsontext import Document

MODULES = (
    "item",
    "contact",
    "invoice",
    "bill",
    "creditnote",
    "vendorcredit",
    "customerpayment",
    "vendorpayment",
    "salesorder",
)
METHODS = ("POST", "PUT", "DELETE")
RULE_TYPES = ("add", "edit", "add_edit", "delete")
RULES_OF_MODULE, RULES_OF_ORGANIZATION = 10, 200
SECRET = re.compile(r"[A-Za-z0-9]{12,50}")


class Automation:
    """One organisation's."""

    def __init__(self) -> None:
        self.webhooks: dict[str, Document] = {}
        self.workflows: dict[str, Document] = {}
        self.plan = "Professional"
        self._secrets: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def create_webhook(self, given: Mapping[str, Any]) -> Document:
        """``POST /settings/webhooks``.

        Raises:
            ApiError: 400, with code 2 for a value that is not allowed, 107051 for a name that exists.
        """
        name, url, secret = (str(given.get(key, "")) for key in ("webhook_name", "url", "secret"))
        _require("webhook_name", 0 < len(name) <= 50)
        _require("url", url.startswith(("https://", "http://")) and len(url) <= 5000)
        _require("entity", given.get("entity") in MODULES)
        _require("method", given.get("method", "POST") in METHODS)
        _require("secret", not secret or SECRET.fullmatch(secret) is not None)
        with self._lock:
            if any(row["webhook_name"] == name for row in self.webhooks.values()):
                raise ApiError(400, 107051, "A webhook with this name already exists.")
            webhook_id = f"9820000000{next(self._numbers):09}"
            # the secret is never shown again
            row = {
                "webhook_id": webhook_id,
                **{key: value for key, value in given.items() if key != "secret"},
            }
            self.webhooks[webhook_id], self._secrets[webhook_id] = row, secret
        return {"code": 0, "message": "The webhook has been created.", "webhook": row}

    def create_workflow(self, given: Mapping[str, Any]) -> Document:
        """``POST /settings/workflows``.

        Raises:
            ApiError: 400, also where the plan has no more rules.
        """
        _require("workflow_name", bool(str(given.get("workflow_name", ""))))
        _require("entity", given.get("entity") in MODULES)
        _require("rule_type", given.get("rule_type") in RULE_TYPES)
        actions = given.get("instant_actions") or []
        hooks = [action for action in actions if action.get("action_type") == "webhook"]
        with self._lock:
            _require(
                "instant_actions", len(hooks) <= 1 and all(h.get("action_id") in self.webhooks for h in hooks)
            )
            rules = Counter(row["entity"] for row in self.workflows.values())
            if (
                self.plan in {"Free", "Standard"}
                or rules[given["entity"]] >= RULES_OF_MODULE
                or rules.total() >= RULES_OF_ORGANIZATION
            ):
                raise ApiError(
                    400, 100001, "You have reached the maximum number of workflow rules of your plan."
                )
            workflow_id = f"9830000000{next(self._numbers):09}"
            row = {"workflow_id": workflow_id, "is_active": True, **given}
            self.workflows[workflow_id] = row
        return {"code": 0, "message": "The workflow has been created.", "workflow": row}

    def listed(self, what: str) -> Document:
        """``GET /settings/webhooks`` or ``/settings/workflows``."""
        with self._lock:
            rows = [dict(row) for row in getattr(self, what).values()]
        context = {"page": 1, "per_page": 200, "has_more_page": False}
        return {"code": 0, "message": "success", what: rows, "page_context": context}

    def fired(self, module: str, event: str) -> list[tuple[str, str]]:
        """URL and secret of each webhook that an event of a module fires."""
        kind = {"create": "add"}.get(event, event)
        with self._lock:
            return [
                (self.webhooks[action["action_id"]]["url"], self._secrets[action["action_id"]])
                for rule in self.workflows.values()
                if rule["entity"] == module and rule["is_active"] and kind in rule["rule_type"].split("_")
                for action in rule.get("instant_actions") or []
                if action.get("action_type") == "webhook"
            ]


def _require(parameter: str, is_so: bool) -> None:
    if not is_so:
        raise ApiError(400, 2, f"Invalid value passed for {parameter}")
