"""Settings from a file or a preset, as command-line flags: --config FILE, --preset small."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def expand_config(args: list[str]) -> list[str]:
    """Arguments in which the settings of --config's file stand as flags, if none overrides them.

    args: the kind, then flags; a file that names its kind does without. The file is JSON or TOML,
    of flag names and values, or with such a table under "settings" as OUT/config.json has it.
    `--config` itself stays in place. Raises ValueError or FileNotFoundError.
    """
    value = _value(args, "config")
    if value is None:
        return args
    path = Path(value)
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


def expand_preset(args: list[str], presets: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Arguments in which the settings of --preset stand as flags, if none overrides them.

    args: as `expand_config` returns them. presets: settings by flag name, by the preset's name;
    one that is not among them sets nothing. `--preset` itself stays in place.
    """
    flags = args[1:]
    settings = presets.get(_value(flags, "preset") or "", {})
    given = {_name(x) for x in flags if x.startswith("--")}
    expanded = [_flag(k, v, Path("--preset")) for k, v in settings.items() if k not in given]
    return [*args[:1], *sum(expanded, []), *flags]


def _kind(args: list[str], kind_of_file: str | None, path: Path) -> tuple[str, list[str]]:
    """(kind, flags)"""
    if not args[0].startswith("-"):
        if kind_of_file not in (None, args[0]):
            raise ValueError(f"{path} has settings of {kind_of_file}, and this is train {args[0]}")
        return args[0], args[1:]
    if kind_of_file is None:
        raise ValueError(f"{path} does not name its kind; say what to train: train KIND --config")
    return kind_of_file, args


def _value(args: list[str], name: str) -> str | None:
    """The value of a flag; None if it is not given. The last one counts, as for tyro."""
    found = None
    for index, arg in enumerate(args):
        if arg == f"--{name}" and index + 1 < len(args):
            found = args[index + 1]
        if arg.startswith(f"--{name}="):
            found = arg.partition("=")[2]
    return found


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
