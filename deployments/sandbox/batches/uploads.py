"""Reading a multipart upload."""

from __future__ import annotations

from aiohttp import BodyPartReader, web

__all__ = ["read_upload"]


async def read_upload(request: web.BaseRequest, *, half: bool) -> tuple[str, str, bytes] | None:
    """Purpose, file name and content; None: the client broke it off, or only `half` was to be read."""
    purpose, name, content = "", "", bytearray()
    enough = (request.content_length or 0) // 2 if half else None
    try:
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            if not isinstance(part, BodyPartReader):
                continue
            if part.name != "file":
                text = await _field(part)
                purpose, name = (text, name) if part.name == "purpose" else (purpose, name)
                continue
            name = part.filename or name
            while chunk := await part.read_chunk(2**18):
                content += chunk
                if enough is not None and len(content) >= enough:
                    return None
    except (ConnectionError, ValueError, web.HTTPException):
        return None
    return purpose, name, bytes(content)


async def _field(part: BodyPartReader) -> str:
    text = bytearray()
    while chunk := await part.read_chunk():
        text += chunk
    return text.decode("utf-8", "replace")
