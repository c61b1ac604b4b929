"""The webhooks and workflow rules that Zoho Books is to have, those it has, and what is between them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tds_poller.zoho.client import PER_PAGE, ZohoClient
from tds_poller.zoho.errors import PagingError
from tds_poller.zoho.pages import Pages

# Zoho's names of the modules that have workflow rules, and the endpoint each is sent to. Price lists, taxes,
# currencies and locations have none.
MODULES = {
    "item": "items",
    "contact": "contacts",
    "invoice": "invoices",
    "bill": "bills",
    "creditnote": "creditnotes",
    "vendorcredit": "vendorcredits",
    "customerpayment": "customerpayments",
    "vendorpayment": "vendorpayments",
    "salesorder": "salesorders",
}
RULES = {"add_edit": "", "delete": "?event=delete"}  # a body names no event: the URL does
BODY_TYPE, BODY = "application/json", "${JSONString}"  # Zoho's placeholder for the whole record
RULES_OF_MODULE, RULES_OF_ORGANIZATION, WEBHOOKS_A_DAY = 10, 200, 1000
WITHOUT_RULES = {"free", "standard"}  # plans; the rules begin with Professional


@dataclass(frozen=True, slots=True)
class Wanted:
    """One webhook and the rule that fires it. The secret is in no repr."""

    name: str
    module: str
    rule: str
    url: str
    secret: str = ""

    def __repr__(self) -> str:
        return f"Wanted(name={self.name!r}, url={self.url!r})"

    @property
    def webhook(self) -> dict[str, Any]:
        """As `/settings/webhooks` takes it."""
        return {
            "webhook_name": self.name,
            "entity": self.module,
            "method": "POST",
            "url": self.url,
            "body_type": BODY_TYPE,
            "raw_data": BODY,
            **({"secret": self.secret} if self.secret else {}),
        }

    def workflow(self, webhook_id: str) -> dict[str, Any]:
        """As `/settings/workflows` takes it."""
        return {
            "workflow_name": self.name,
            "entity": self.module,
            "rule_type": self.rule,
            "instant_actions": [{"action_type": "webhook", "action_id": webhook_id}],
        }


@dataclass(frozen=True, slots=True)
class Found:
    """How one webhook stands: missing, without rule, rule is off, differs, set."""

    wanted: Wanted
    state: str
    said: str = ""
    webhook_id: str = ""


def wanted(base_url: str, secret_of: Callable[[str], str], organization_id: str = "") -> list[Wanted]:
    """All that are to be.

    Args:
        base_url: where Zoho reaches the receiver, without a path of ours.
        secret_of: an endpoint's secret, or nothing.
        organization_id: of an organisation that has addresses of its own.
    """
    path = f"/api/zoho/{organization_id}/webhooks" if organization_id else "/api/zoho/webhooks"
    return [
        Wanted(
            f"TDS {endpoint} {rule.replace('_', ' or ')}",
            module,
            rule,
            f"{base_url.rstrip('/')}{path}/{endpoint}{query}",
            secret_of(endpoint),
        )
        for module, endpoint in MODULES.items()
        for rule, query in RULES.items()
    ]


async def listed(client: ZohoClient, what: str) -> list[Mapping[str, Any]]:
    """All webhooks, or workflows, of the organisation.

    Args:
        client: to ask with.
        what: webhooks or workflows.

    Raises:
        ZohoError: see `ZohoClient.get`.
    """
    rows: list[Mapping[str, Any]] = []
    asked = f"GET /settings/{what}"
    pages = Pages(asked)
    page = 1
    while True:
        reply = await client.get(f"/settings/{what}", {"page": page, "per_page": PER_PAGE})
        found, context = reply.document.get(what), reply.document.get("page_context")
        if not isinstance(found, list):
            raise PagingError(f"{asked} answered without {what}.", "Next: tds doctor")
        rows += [row for row in found if isinstance(row, Mapping)]
        if not found or not isinstance(context, Mapping) or context.get("has_more_page") is not True:
            return rows
        pages.take(reply.document, page)
        page += 1


def compared(
    all_wanted: Sequence[Wanted],
    webhooks: Sequence[Mapping[str, Any]],
    workflows: Sequence[Mapping[str, Any]],
) -> list[Found]:
    """How each stands. Secrets are not compared: Zoho does not show them."""
    return [_compared(each, webhooks, workflows) for each in all_wanted]


def _compared(
    each: Wanted, webhooks: Sequence[Mapping[str, Any]], workflows: Sequence[Mapping[str, Any]]
) -> Found:
    ours = [row for row in webhooks if row.get("url") == each.url]
    if not ours:
        named = next((row for row in webhooks if row.get("webhook_name") == each.name), None)
        if named is None:
            return Found(each, "missing")
        return Found(each, "differs", f"its URL is {named.get('url')}", str(named.get("webhook_id", "")))
    webhook = ours[0]
    webhook_id = str(webhook.get("webhook_id", ""))
    for name in ("entity", "method"):
        if str(webhook.get(name, each.webhook[name])).lower() != each.webhook[name].lower():
            return Found(each, "differs", f"its {name} is {webhook[name]}", webhook_id)
    if len(ours) > 1:
        return Found(
            each, "differs", f"{len(ours)} webhooks have this URL: each event comes as often", webhook_id
        )
    firing = [row for row in workflows if webhook_id in _actions(row)]
    if not firing:
        return Found(each, "without rule", "no workflow rule fires it", webhook_id)
    kinds = {part for row in firing for part in str(row.get("rule_type", "")).split("_")}
    lacking = set(each.rule.split("_")) - kinds
    if lacking:
        return Found(each, "differs", f"its rule is for {', '.join(sorted(kinds))}", webhook_id)
    if not any(str(row.get("is_active", True)).lower() == "true" for row in firing):
        return Found(each, "rule is off", "its workflow rule is not active", webhook_id)
    return Found(each, "set", "", webhook_id)


def _actions(workflow: Mapping[str, Any]) -> set[str]:
    actions = workflow.get("instant_actions") or []
    return {str(action.get("action_id")) for action in actions if isinstance(action, Mapping)}


def bounds(
    found: Sequence[Found], workflows: Sequence[Mapping[str, Any]], plan: str, sent_a_day: int | None
) -> list[str]:
    """What the plan of the organisation does not allow, or nearly not.

    Args:
        found: how the webhooks stand.
        workflows: of the organisation.
        plan: its name, as the list of organisations has it.
        sent_a_day: webhooks that came within a day, if known.
    """
    told = []
    missing = [row.wanted for row in found if row.state in {"missing", "without rule"}]
    if plan.lower() in WITHOUT_RULES:
        told.append(f"The plan {plan} has no workflow rules; they begin with Professional. Pulls do without.")
    rules = Counter(str(row.get("entity")) for row in workflows)
    for module, more in Counter(each.module for each in missing).items():
        if rules[module] + more > RULES_OF_MODULE:
            told.append(
                f"{module}: {rules[module]} rules, and {more} are missing; {RULES_OF_MODULE} are allowed."
            )
    if len(workflows) + len(missing) > RULES_OF_ORGANIZATION:
        told.append(
            f"{len(workflows)} rules, and {len(missing)} are missing; {RULES_OF_ORGANIZATION} are allowed."
        )
    if sent_a_day is not None and sent_a_day > 0.8 * WEBHOOKS_A_DAY:
        told.append(
            f"{sent_a_day:,} webhooks came within a day; Zoho sends {WEBHOOKS_A_DAY:,}, pulls find the rest."
        )
    return told
