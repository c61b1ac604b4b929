"""What operators and monitoring call: bulk sync, health, metrics, the OpenAPI document."""
