"""The OpenAI HTTP API to and from `tether.v1.Infer`: requests, answers, streams, errors, models.

What a client asks and Tether cannot do is refused with the name of the field, never ignored in silence.
Source: the request and response types of the `openai` Python client; docs/design/design.md §7.
"""
