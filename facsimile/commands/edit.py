"""`facsimile edit`: change photos, or latents, by a registered edit.

The subcommands and their flags are made from `facsimile.editing.EDITS`.
"""

import os
import sys
from dataclasses import dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Union

import tyro

from facsimile import editing, history
from facsimile import studio as studios
from facsimile.edit_result import SUMMARY, EditResult, number_solutions
from facsimile.editing import Edit
from facsimile.exit_status import OK, SOME_FAILED
from facsimile.inputs import number_duplicates, one_line, photos_for
from facsimile.jobs import PASTED, Job
from facsimile.json_files import read_json, write_json
from facsimile.launched import is_first_process
from facsimile.local_edits import EditProgress, read_target
from facsimile.metrics import PERCEPTUAL_METRICS
from facsimile.paste_back import WHOLE, PasteOptions, check_photos, crop_of, save_all
from facsimile.studio import Studio
from facsimile.stylegan import Latents

from .optional import OPTIONAL
from .options import PhotoPasteOptions

LATENTS = "latents.safetensors"
INVERSIONS = "inversions"
"""Folder inside --out with the inversions of photos."""
SHARED = {"seed", "residual"}
"""Parameters of edits that are options of every edit too."""


@dataclass(frozen=True, kw_only=True)
class EditOptions(PhotoPasteOptions):
    """Options of every edit."""

    inputs: tyro.conf.Positional[list[Path]]
    """Photos, which are inverted first; latents.safetensors of an inversion or of an edit; folders
    of photos or of inversions."""
    out: Path
    """Folder for the results: NAME.png of every image, strip.png with the images before and after,
    latents.safetensors to edit further, edit.json, history.json, which facsimile edit replay makes
    again; inversions of photos in OUT/inversions/."""
    video: Literal["mp4", "webm", "none"] = "none"
    """Also write the images as the frames of OUT/video.mp4 or OUT/video.webm."""
    generator: str = "faces"
    """A bundled name, a generator's file, or a folder with generator.safetensors."""
    encoder: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """For photos: an encoder's file, or the folder of a training run; once for each kind."""
    recipe: str = ""
    """For photos: the recipe of their inversion, see facsimile invert. Default: f/z+, and w+ for an
    edit that refines codes."""
    steps: int | None = None
    """For photos: steps of their inversion, exactly so many. Default: until a photo is done. 0: the
    initial latents, in seconds."""
    seed: int = 0
    """For photos: seed of random initial codes; for edits with random numbers: their seed."""
    label: int | None = None
    """For photos: class of a conditional generator, from 0 on."""
    perceptual: Literal[PERCEPTUAL_METRICS] = "auto"  # type: ignore[valid-type]
    """For photos: the perceptual term of their inversion."""
    identity: Literal["auto", "off", "dlib", "facenet"] = "auto"
    """For photos: the network of the identity term of their inversion, see facsimile invert; off:
    without the term."""
    align: bool = True
    """For photos: find the face and crop it as FFHQ does. --no-align: they are such crops."""
    aspect: str | None = None
    """For photos of a square network of pictures that are not square: see facsimile invert."""
    batch: int = 8
    """For photos: how many are inverted at once."""
    replace: bool = False
    """Put the results in the place of those that another edit, or other settings, have made."""

    edit_name: ClassVar[str]

    def run(self) -> int:
        edit = editing.get(self.edit_name)
        if not self.inputs:
            raise ValueError("got nothing to edit; give photos, latents or folders of these")
        parameters = edit.complete({p.name: getattr(self, p.name) for p in edit.parameters})
        record: dict[str, Any] = {
            "edit": edit.name,
            "parameters": parameters,
            "inputs": [str(path.resolve()) for path in self.inputs],
        }
        photos, files = _sort_inputs(self.inputs, self.out)
        if not (photos or is_first_process(os.environ)):
            return OK
        if photos:
            record["inversion"] = {"recipe": self.recipe or edit.recipe} | self._settings()
        if not self.replace:
            _check_out(self.out, record)
        perceptual = self.perceptual
        idle = not photos or (perceptual == "auto" and self.steps == 0)
        if idle and not edit.refines:
            perceptual = "none"  # nothing is refined
        studio = studios.load(
            self.generator,
            perceptual=perceptual,
            encoders=self.encoder,
            device=self.device,
        )
        failed = self._invert(studio, photos, files)
        if failed is None:
            print(f"other processes go on, the last of which edits: {self.out}")
            return OK
        paths = [path for path in files.values() if path]
        latents = [Latents.load(path, studio.generator) for path in paths]
        names = _image_names(latents, files)
        if failed and (edit.inputs > 1 or not latents):
            raise ValueError(f"nothing was edited, as a photo failed: {failed[0]}")
        if self.paste_options is not None:
            self._check_photos(latents if edit.inputs == 1 else latents[:1])
        result = self._edit(studio, edit, latents, paths, parameters)
        if edit.inputs == 1:
            solutions = len(result) // len(names)
            result = replace(result, names=number_solutions(names, solutions))
        inversion = record.get("inversion", {})
        entry = history.describe(edit.name, parameters, files, photos, inversion)
        save_result(result, self.out, self.video, record, entry, self.paste_options)
        images = f"{len(result)} image{'s' * (len(result) != 1)}"
        if result.note:
            print(result.note)
        for miss in result.misses:
            print(f"note: {miss}")
        print(f"{edit.name}: {images}, {len(failed)} photos failed: {self.out / 'strip.png'}")
        for reason in failed:
            print(f"  {one_line(reason)}", file=sys.stderr)
        return SOME_FAILED if failed else OK

    def _check_photos(self, latents: list[Latents]) -> None:
        """Refuse what cannot be pasted back before anything is edited."""
        assert self.paste_options is not None
        for one in latents:
            crop_of(one.crops, 0)
            check_photos(one.crops, self.paste_options)

    def _edit(
        self,
        studio: Studio,
        edit: Edit,
        latents: list[Latents],
        paths: list[Path],
        parameters: dict[str, Any],
    ) -> EditResult:
        """The edit of latents from these files, with progress if it refines."""
        if not edit.refines:
            return studio.edit(latents, edit.name, **parameters)
        targets = [
            read_target(path, len(one), studio.generator)
            for path, one in zip(paths, latents, strict=True)
        ]
        progress = EditProgress(edit.name, quiet=self.quiet)
        try:
            return studio.edit(latents, edit.name, targets=targets, callback=progress, **parameters)
        finally:
            progress.close()

    def _settings(self) -> dict[str, Any]:
        """Of the inversion of photos, beside its recipe: keywords of `Studio.plan`."""
        options = ("steps", "seed", "label", "align", "identity")
        aspect = {} if self.aspect is None else {"aspect": self.aspect}
        return {name: getattr(self, name) for name in options} | aspect

    def _invert(
        self, studio: Studio, photos: list[Path], files: dict[Path, Path | None]
    ) -> list[str] | None:
        """Invert photos and put the paths of their latents into `files`; returns the failures.

        None if other processes still invert; the last one edits.
        """
        if not photos:
            return []
        recipe = self.recipe or editing.get(self.edit_name).recipe
        plan = studio.plan(recipe, **self._settings())
        print(plan.describe())
        inverter, reader, out = studio.inverter(plan), studio.target_reader, self.out / INVERSIONS
        job = Job(inverter, reader, photos, out, self.batch, self.replace)
        job.run(quiet=self.quiet)
        if not job.last:
            return None
        for photo in photos:
            path = job.out / job.names[photo] / LATENTS
            files[photo] = None if str(photo) in job.failed else path
        return list(job.failed.values())


def save_result(
    result: EditResult,
    out: Path,
    video: str,
    record: dict,
    entry: dict,
    paste: PasteOptions | None,
) -> None:
    """Write all that an edit leaves in `out`. entry: of history.json."""
    format_ = None if video == "none" else video
    result.save(out, video=format_)
    write_json(out / SUMMARY, result.record() | record)
    write_json(out / history.FILE, entry | ({} if paste is None else {PASTED: paste.to_dict()}))
    if paste is None:
        return
    several = len(result) > 1
    film = out / f"{WHOLE}.{format_}" if several and format_ is not None else None
    lost: dict[str, str] = {}
    folder = out / WHOLE if several else out
    save_all(result.pieces(), len(result), folder, paste, film, lost)
    for text in dict.fromkeys(lost.values()):
        print(f"{WHOLE}: {text}")


@dataclass(frozen=True, kw_only=True)
class Replay(PhotoPasteOptions):
    """Make the edits of a history.json again, one upon the other, from their photos and latents."""

    history: tyro.conf.Positional[Path]
    """The history.json of an edit, or its folder."""
    out: Path
    """Folder for the results, as of the edit."""
    video: Literal["mp4", "webm", "none"] = "none"
    """Also write the images as the frames of OUT/video.mp4 or OUT/video.webm."""
    generator: str = "faces"
    """A bundled name, a generator's file, or a folder with generator.safetensors: the one of the
    edits."""
    encoder: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """For photos: an encoder's file, or the folder of a training run; once for each kind."""
    perceptual: Literal[PERCEPTUAL_METRICS] = "auto"  # type: ignore[valid-type]
    """For photos: the perceptual term of their inversion."""
    replace: bool = False
    """Put the results in the place of those that another edit has made."""

    def run(self) -> int:
        entry = history.read(self.history)
        record = {"edit": entry["edit"], "parameters": entry["parameters"]}
        if not self.replace:
            _check_out(self.out, record)
        studio = studios.load(
            self.generator,
            perceptual=self.perceptual,
            encoders=self.encoder,
            device=self.device,
        )
        result = history.replay(studio, entry)
        save_result(result, self.out, self.video, record, entry, self.paste_options)
        print(f"{result.edit}: {len(result)} images, replayed: {self.out / 'strip.png'}")
        return OK


@dataclass(frozen=True, kw_only=True)
class ListEdits:
    """List the edits with their parameters."""

    def run(self) -> int:
        for name, edit in sorted(editing.EDITS.items()):
            images = f"{edit.inputs} image{'s' * (edit.inputs != 1)}"
            print(f"{name}: {edit.summary} Takes {images}.")
            for parameter in edit.parameters:
                flag = parameter.name.replace("_", "-")
                default = "" if parameter.default == "" else f" (default {parameter.default})"
                print(f"    --{flag}{default}: {parameter.help}")
        return OK


@dataclass(frozen=True, kw_only=True)
class EditHelp:
    """Edit photos or latents: facsimile edit list, facsimile edit NAME --help."""


def parse(args: list[str]) -> EditOptions | ListEdits | Replay:
    """What `facsimile edit` is to do with these arguments.

    The first is the name of an edit, "list", or the path of a page (.py) with an edit.
    """
    if args and args[0].endswith(".py"):
        args = [editing.register_page(args[0]).name, *args[1:]]
    commands: list[Any] = [
        Annotated[ListEdits, tyro.conf.subcommand("list")],
        Annotated[Replay, tyro.conf.subcommand("replay")],
    ]
    for name, edit in sorted(editing.EDITS.items()):
        commands.append(Annotated[options_of(edit), tyro.conf.subcommand(name)])
    return tyro.cli(  # type: ignore[call-overload]
        Union[tuple(commands)],  # noqa: UP007, a union that is computed
        prog="facsimile edit",
        description="Change photos, or latents, by an edit. An edit of your own is a page, see "
        "facsimile.editing.registry: facsimile edit my_edit.py INPUTS... --out OUT",
        args=args,
        config=(tyro.conf.OmitArgPrefixes,),
        registry=OPTIONAL,
    )


def options_of(edit: Edit) -> type[EditOptions]:
    """The options of one edit: a dataclass with the edit's parameters after `EditOptions`'."""
    reserved = {f.name for f in fields(EditOptions)}
    for parameter in edit.parameters:
        if parameter.name in reserved - SHARED:
            raise ValueError(
                f'the edit "{edit.name}" has a parameter "{parameter.name}", which is an option of '
                "every edit; call it otherwise"
            )
    parameters = [
        (
            parameter.name,
            Annotated[type(parameter.default), tyro.conf.arg(help=parameter.help)],
            field(default=parameter.default),
        )
        for parameter in edit.parameters
        if parameter.name not in SHARED
    ]
    images = "one or more images" if edit.inputs == 1 else f"{edit.inputs} images"
    text = f"{edit.summary}\n\nTakes {images}. {edit.description}"
    namespace = {"__doc__": text, "edit_name": edit.name}
    name = "".join(part.capitalize() for part in edit.name.split("-"))
    return make_dataclass(
        name, parameters, bases=(EditOptions,), namespace=namespace, frozen=True, kw_only=True
    )


def _check_out(out: Path, record: dict) -> None:
    """ValueError if `out` has the results of another edit."""
    present = read_json(out / SUMMARY)
    if present and any(present.get(name) != value for name, value in record.items()):
        raise ValueError(
            f"{out} has results of another edit ({present.get('edit')} with "
            f"{present.get('parameters')} of {', '.join(present.get('inputs', []))}), or of photos "
            "that were inverted with other settings; choose another --out, or --replace"
        )


def _sort_inputs(inputs: list[Path], out: Path) -> tuple[list[Path], dict[Path, Path | None]]:
    """The photos to invert, and every input in order with the path of its latents (None: later)."""
    files: dict[Path, Path | None] = {}
    for path in inputs:
        if path.suffix == ".safetensors":
            files[path] = path
        elif (path / LATENTS).is_file():
            files[path] = path / LATENTS
        elif path.is_dir() and (saved := sorted(path.glob(f"*/{LATENTS}"))):
            files |= {file.parent: file for file in saved}
        else:
            files |= dict.fromkeys(photos_for([path], out))
    return [path for path, file in files.items() if file is None], files


def _image_names(latents: list[Latents], files: dict[Path, Path | None]) -> list[str]:
    """A file name for every image of the latents: the input's, numbered if it has several."""
    stems = []
    paths = [path for path, file in files.items() if file is not None]
    for path, one in zip(paths, latents, strict=True):
        stem = path.stem if path.suffix else path.name
        stems += [stem if len(one) == 1 else f"{stem}-{i + 1}" for i in range(len(one))]
    return number_duplicates(stems)
