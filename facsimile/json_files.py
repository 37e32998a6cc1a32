"""JSON files that are written whole, and read whatever became of them."""

import json
from pathlib import Path


def write_json(path: Path, value: dict) -> None:
    """Write a JSON file whole or not at all."""
    temporary = path.with_name(path.name + ".part")
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        # A name of a file that is no UTF-8 holds lone surrogates, which JSON has as \udc80.
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> dict:
    """The object in a JSON file; {} if the file does not exist or is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
