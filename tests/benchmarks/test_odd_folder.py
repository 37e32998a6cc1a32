"""The files of the odd folder, read in this process: what is used, and the reason of the rest."""

import re
import warnings

import pillow_heif
import pytest

from benchmarks import odd_folder, odd_photos
from facsimile import data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """(folder, its cases)"""
    pillow_heif.register_heif_opener()
    folder = tmp_path_factory.mktemp("odd") / "photos"
    cases = [*odd_photos.good(), *odd_photos.names_and_links(), *odd_photos.bad()]
    cases += odd_photos.zips()
    odd_folder.make(folder, cases)
    return folder, cases


def read(photo):
    """Why a photo is not used; "" if it is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", data.PhotoWarning)
            data.fit_square(data.read_photo(photo), 32)
    except (data.PhotoError, OSError) as error:
        return str(error)
    return ""


def test_every_file_is_used_or_has_its_reason(folder):
    folder, cases = folder
    zips = [odd_folder.path_of(folder, case) for case in cases if case.name.startswith("@")]
    reasons = {photo: read(photo) for photo in data.find_photos([folder, *zips])}
    assert len(cases) > 60
    for case in cases:
        path = odd_folder.path_of(folder, case)
        inside = {x: r for x, r in reasons.items() if x == path or path in x.parents}
        refused = [reason for reason in inside.values() if reason]
        assert len(inside) - len(refused) == case.results, case.name
        assert len(refused) == bool(case.reason), case.name
        assert all(re.search(case.reason, reason) for reason in refused), (case.name, refused)
    assert len(reasons) == sum(case.results + bool(case.reason) for case in cases)
