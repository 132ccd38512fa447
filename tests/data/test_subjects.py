"""A subject is a name we know or a file whose every entry is checked."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gramhd_core.data.landmarks import CAT_9, IBUG_68
from gramhd_core.data.subjects import FACES, SUBJECTS, Limits, find_subject
from gramhd_core.errors import BadArgument
from gramhd_core.geometry.camera import CameraPrior

DOGS = """
name = "dogs"
scheme = { name = "dog-6", mirror = [1, 0, 2, 4, 3, 5] }
template = "dogs.json"
[cameras]
yaw_sd = 0.4
pitch_mean = -0.1
[limits]
yaw = 1.2
sharpness = 0
"""


def described(folder: Path, text: str) -> str:
    (folder / "dogs.json").write_text("{}")
    (folder / "dogs.toml").write_text(text)
    return str(folder / "dogs.toml")


def test_the_built_in_subjects_are_found_by_name():
    assert [find_subject(name) for name in SUBJECTS] == list(SUBJECTS.values())
    assert (find_subject("cats").scheme, find_subject("faces").scheme) == (CAT_9, IBUG_68)


def test_a_file_describes_a_subject_and_leaves_the_rest_as_it_is(tmp_path):
    pytest.importorskip("tomllib")
    dogs = find_subject(described(tmp_path, DOGS))
    assert (dogs.name, dogs.scheme.name, dogs.scheme.mirror) == ("dogs", "dog-6", (1, 0, 2, 4, 3, 5))
    assert dogs.cameras == CameraPrior(yaw_sd=0.4, pitch_mean=-0.1)
    assert dogs.limits == Limits(yaw=1.2, sharpness=0.0) and dogs.template == tmp_path / "dogs.json"
    least = find_subject(described(tmp_path, 'name = "heads"'))
    assert least == dataclasses.replace(FACES, name="heads", label_pitch_offset=0.0)


@pytest.mark.parametrize(
    "text",
    [
        "name = ",
        "",
        'name = ""',
        "name = 3",
        'name = "a"\nbreed = 1',
        'name = "a"\nscheme = "ibug-67"',
        'name = "a"\nscheme = { name = "b" }',
        'name = "a"\nscheme = { name = "b", mirror = [1, 2, 0] }',
        'name = "a"\nscheme = { name = "b", mirror = [7] }',
        'name = "a"\nscheme = { name = "b", mirror = [true, false] }',
        'name = "a"\ntemplate = "absent.json"',
        'name = "a"\n[cameras]\nradius = 2.0',
        'name = "a"\n[cameras]\nyaw_sd = -1',
        'name = "a"\n[cameras]\nyaw_sd = "wide"',
        'name = "a"\n[cameras]\nfov_degrees = 170',
        'name = "a"\n[limits]\nyaw = nan',
        'name = "a"\n[limits]\nroll = 1.0',
    ],
)
def test_a_wrong_file_is_one_sentence_that_names_it(tmp_path, text):
    pytest.importorskip("tomllib")
    with pytest.raises(BadArgument, match=r"dogs\.toml") as error:
        find_subject(described(tmp_path, text))
    assert "\n" not in str(error.value)


def test_an_unknown_subject_and_an_absent_file_are_sentences(tmp_path):
    with pytest.raises(BadArgument, match="faces, cats, procedural-heads"):
        find_subject("dogs")
    with pytest.raises(BadArgument, match="cannot be read"):
        find_subject(str(tmp_path / "absent.toml"))
