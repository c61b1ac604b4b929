"""What the OpenAPI document tells of by hand: webhooks, which take any bytes, and pictures."""

from typing import Any

NAMES = [
    "products",
    "customers",
    "vendors",
    "invoices",
    "bills",
    "credit-notes",
    "vendor-credits",
    "sales-orders",
    "payments",
    "vendor-payments",
    "stock",
    "prices",
]
ANSWER = {
    "type": "object",
    "properties": {
        "status": {"type": "string", "enum": ["queued", "duplicate", "rejected"]},
        "inbox_id": {"type": "integer"},
    },
    "required": ["status", "inbox_id"],
}
REFUSAL = {
    "type": "object",
    "properties": {"status": {"type": "string"}, "reason": {"type": "string"}},
    "required": ["status", "reason"],
}


def _operation(method: str, told: str) -> dict[str, Any]:
    def refusal(description: str) -> dict[str, Any]:
        return {"description": description, "content": {"application/json": {"schema": REFUSAL}}}

    return {
        "tags": ["webhooks"],
        "summary": told,
        "operationId": f"webhook_{method}",
        "description": "Any body is stored as it came, and acknowledged after its commit. What it says is "
        "read later; what cannot be read becomes a dead letter with its reason.",
        # any of these, where it is configured
        "security": [{"signature": []}, {"token": []}, {"query token": []}, {"bearer": []}, {}],
        "requestBody": {
            "description": "JSON, a form with JSONString or plain pairs, multipart; gzip or not.",
            "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
        },
        "responses": {
            "202": {
                "description": "Stored. rejected: stored, and a dead letter at once.",
                "content": {"application/json": {"schema": ANSWER}},
            },
            "400": refusal("The organisation is no id, or the body is broken gzip."),
            "401": refusal("Not signed, or not as the secret wants it."),
            "404": refusal("No name of an entity."),
            "405": refusal("DELETE with a signature, which does not cover the method: use ?event=delete."),
            "408": refusal("The body took too long."),
            "413": refusal("The body is too large."),
            "415": refusal("An unknown Content-Encoding."),
            "429": refusal("Too many wrong signatures or tokens from that address; see Retry-After."),
            "503": refusal("Not stored: send it again."),
        },
    }


WEBHOOK_SECURITY: dict[str, Any] = {
    "signature": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Zoho-Webhook-Signature",
        "description": "HMAC-SHA256 in hex or Base64: ZOHO_WEBHOOK_SECRET.",
    },
    "token": {
        "type": "apiKey",
        "in": "header",
        "name": "X-TDS-Token",
        "description": "A fixed token, where webhooks are not signed: ZOHO_WEBHOOK_TOKEN.",
    },
    "query token": {"type": "apiKey", "in": "query", "name": "token", "description": "The same, in the URL."},
}

PARAMETERS = [
    {
        "name": "entity",
        "in": "path",
        "required": True,
        "description": f"{', '.join(NAMES)}; another one is stored and can be replayed once it is known.",
        "schema": {"type": "string", "pattern": "^[a-z][a-z_-]{1,40}$"},
        "example": "products",
    },
    {
        "name": "organization_id",
        "in": "query",
        "description": "Zoho's organisation; default: the receiver's own.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,50}$"},
    },
    {
        "name": "event",
        "in": "query",
        "description": "`delete` for a rule that fires on deletion.",
        "schema": {"type": "string"},
    },
    {
        "name": "X-Zoho-Webhook-Signature",
        "in": "header",
        "description": "HMAC-SHA256 in hex or Base64, where a secret is configured.",
        "schema": {"type": "string"},
    },
]

WEBHOOK_PATHS: dict[str, Any] = {
    "/api/zoho/webhooks/{entity}": {
        "parameters": PARAMETERS,
        "post": _operation("post", "Take a webhook of Zoho's"),
        "put": _operation("put", "Take a webhook of Zoho's"),
        "delete": _operation("delete", "Take a webhook that tells of a deletion"),
    }
}

IMAGE_PATHS: dict[str, Any] = {
    "/images/{sha256}": {
        "get": {
            "tags": ["images"],
            "summary": "A product's picture",
            "operationId": "get_image",
            "description": "What a product's `image_url` leads to. A name stands for one picture for ever.",
            "parameters": [
                {
                    "name": "sha256",
                    "in": "path",
                    "required": True,
                    "description": "SHA-256 of the picture, in hex.",
                    "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                },
                {
                    "name": "If-None-Match",
                    "in": "header",
                    "description": "ETags of what the asker has.",
                    "schema": {"type": "string"},
                },
            ],
            "responses": {
                "200": {
                    "description": "The picture.",
                    "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
                },
                "304": {"description": "The asker has it."},
                "404": {
                    "description": "There is none of that name.",
                    "content": {"application/json": {"schema": REFUSAL}},
                },
            },
        }
    }
}
