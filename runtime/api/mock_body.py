"""Bodies as programs really send them to a mock API: JSON under any content type, forms, nothing.

Called by mock.py. Pure.
"""

from __future__ import annotations

from email.parser import BytesParser
from email.policy import HTTP
from urllib.parse import parse_qsl

from agents.records import Json
from runtime.api.body import parse_json
from runtime.api.errors import bad_request

_MAX_FIELDS = 1000


def read_fields(raw: bytes, content_type: str, *, max_depth: int) -> Json:
    """The body's JSON value; forms as an object of texts; None for an empty body. Raises ApiError 400.

    A browser's ``fetch`` that is given text sends it as text/plain: everything that is no form is read as JSON.
    """
    if not raw.strip():
        return None
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded" and not raw.lstrip().startswith((b"{", b"[")):
        return _urlencoded(raw)
    if kind == "multipart/form-data":
        return _multipart(raw, content_type)
    return parse_json(raw, max_depth=max_depth)


def _urlencoded(raw: bytes) -> dict[str, Json]:
    try:
        pairs = parse_qsl(raw.decode("utf-8"), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError:
        raise bad_request(f"The form is not valid, or has more than {_MAX_FIELDS} fields", param="body") from None
    return _grouped(pairs)


def _multipart(raw: bytes, content_type: str) -> dict[str, Json]:
    """Fields as texts; a file as its name, type and size (its content is not shown to a model)."""
    head = b"Content-Type: " + content_type.encode("latin-1", "replace").replace(b"\r", b"").replace(b"\n", b"") + b"\r\n\r\n"
    message = BytesParser(policy=HTTP).parsebytes(head + raw)
    if not message.is_multipart():
        raise bad_request("The multipart form is not valid", param="body")
    pairs: list[tuple[str, Json]] = []
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        if not isinstance(name, str):
            continue
        content = part.get_payload(decode=True)
        data = content if isinstance(content, bytes) else b""
        filename = part.get_filename()
        if filename is None:
            pairs.append((name, data.decode("utf-8", "replace")))
        else:
            pairs.append((name, {"filename": filename, "type": part.get_content_type(), "size_bytes": len(data)}))
        if len(pairs) > _MAX_FIELDS:
            raise bad_request(f"The form has more than {_MAX_FIELDS} fields", param="body")
    return _grouped(pairs)


def _grouped(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """A field that is sent several times becomes a list."""
    fields: dict[str, list[Json]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}
