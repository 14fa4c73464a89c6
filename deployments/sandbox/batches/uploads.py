"""Reading a multipart upload."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import BodyPartReader, web

__all__ = ["Upload", "read_upload"]


@dataclass(slots=True)
class Upload:
    """What was sent."""

    purpose: str = ""
    name: str = ""
    content: bytes = b""
    expires: bool = False
    """It says expires_after."""


async def read_upload(request: web.BaseRequest, *, half: bool) -> Upload | None:
    """The upload; None: the client broke it off, or only `half` was to be read."""
    found, content = Upload(), bytearray()
    enough = (request.content_length or 0) // 2 if half else None
    try:
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            if not isinstance(part, BodyPartReader):
                continue
            if part.name != "file":
                await _note(found, part)
                continue
            found.name = part.filename or ""
            while chunk := await part.read_chunk(2**18):
                content += chunk
                if enough is not None and len(content) >= enough:
                    return None
    except (ConnectionError, ValueError, web.HTTPException):
        return None
    found.content = bytes(content)
    return found


async def _note(found: Upload, part: BodyPartReader) -> None:
    text = bytearray()
    while chunk := await part.read_chunk():
        text += chunk
    if part.name == "purpose":
        found.purpose = text.decode("utf-8", "replace")
    found.expires |= (part.name or "").startswith("expires_after")
