"""Settings from a file, as command-line flags: `train KIND --config FILE`."""

import json
from pathlib import Path
from typing import Any


def expand_config(args: list[str]) -> list[str]:
    """Arguments in which the settings of --config's file stand as flags, if none overrides them.

    args: the kind, then flags; a file that names its kind does without. The file is JSON or TOML,
    of flag names and values, or with such a table under "settings" as OUT/config.json has it.
    `--config` itself stays in place. Raises ValueError or FileNotFoundError.
    """
    path = _config_path(args)
    if path is None:
        return args
    content = _read(path)
    kind, flags = _kind(args, content.get("kind"), path)
    settings = content.get("settings", content)
    given = {_name(x) for x in flags if x.startswith("--")}
    expanded = []
    for key, value in settings.items():
        name = key.replace("_", "-")
        if name not in given | {"kind", "config"}:
            expanded += _flag(name, value, path)
    return [kind, *expanded, *flags]


def _kind(args: list[str], kind_of_file: str | None, path: Path) -> tuple[str, list[str]]:
    """(kind, flags)"""
    if not args[0].startswith("-"):
        if kind_of_file not in (None, args[0]):
            raise ValueError(f"{path} has settings of {kind_of_file}, and this is train {args[0]}")
        return args[0], args[1:]
    if kind_of_file is None:
        raise ValueError(f"{path} does not name its kind; say what to train: train KIND --config")
    return kind_of_file, args


def _config_path(args: list[str]) -> Path | None:
    for index, arg in enumerate(args):
        if arg == "--config" and index + 1 < len(args):
            return Path(args[index + 1])
        if arg.startswith("--config="):
            return Path(arg.partition("=")[2])
    return None


def _name(arg: str) -> str:
    """Name of the setting of a flag: "mirror" for --mirror, --no-mirror and --mirror=..."""
    name = arg.removeprefix("--").partition("=")[0].replace("_", "-")
    return name.removeprefix("no-")


def _flag(name: str, value: Any, path: Path) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    if isinstance(value, dict):
        raise ValueError(
            f"{path} has a table {name}; expected settings by flag name, at the top or in a table "
            '"settings"'
        )
    values = value if isinstance(value, list) else [value]
    return [f"--{name}", *(str(x) for x in values)]  # null is "None", as tyro has it


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"--config is {path}, and there is no such file")
    try:
        text = path.read_text(encoding="utf-8")
        content = _toml(text, path) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:  # JSON, TOML and Unicode errors are ValueErrors
        raise ValueError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("settings", {}), dict):
        raise ValueError(f"{path} is not a table of settings; expected what OUT/config.json has")
    return content


def _toml(text: str, path: Path) -> dict[str, Any]:
    try:
        import tomllib
    except ImportError as error:
        raise ValueError(f"TOML needs Python 3.11 or newer; write {path.stem}.json") from error
    return tomllib.loads(text)
