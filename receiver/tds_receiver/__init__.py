"""The ASGI application that takes webhooks: bytes in, one SQL call, answer."""
