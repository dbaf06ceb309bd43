"""The demo's results as files: a picture of all digits, and the continuations to read."""

import io
from pathlib import Path

from api.demo.client import Client

_ZOOM = 3
_GAP = 4


def write_grid(client: Client, job_id: str, path: Path) -> Path:
    """Every image of a job as one picture, a row per item."""
    from PIL import Image

    rows: dict[str, list[Image.Image]] = {}
    for output in client.all(f"/api/v1/jobs/{job_id}/outputs"):
        content = client.content(f"/api/v1/outputs/{output['id']}/content")
        rows.setdefault(output["custom_id"], []).append(Image.open(io.BytesIO(content)))
    images = [rows[name] for name in sorted(rows)]
    side = images[0][0].width * _ZOOM + _GAP
    sheet = Image.new("L", (side * max(map(len, images)), side * len(images)), 255)
    for down, row in enumerate(images):
        for across, image in enumerate(row):
            zoomed = image.resize((side - _GAP, side - _GAP), Image.Resampling.NEAREST)
            sheet.paste(zoomed, (across * side, down * side))
    sheet.save(path)
    return path


def write_continuations(client: Client, job_id: str, path: Path) -> Path:
    """Every text of a job behind its prompt, as Markdown."""
    parts = ["# Continuations\n"]
    for output in client.all(f"/api/v1/jobs/{job_id}/outputs"):
        text = client.content(f"/api/v1/outputs/{output['id']}/content").decode()
        parts.append(f"**{output['params']['prompt']}**{text}\n\n---\n")
    path.write_text("\n".join(parts), encoding="utf-8")
    return path
