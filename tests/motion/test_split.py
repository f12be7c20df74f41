"""Held-out validation: subjects stay together and on their side; few subjects, one subject, one motion."""

from __future__ import annotations

import logging

import pytest

from unimo.errors import InputError
from unimo.motion.library import MotionLibrary, NamedMotion
from unimo.motion.split import hold_out


@pytest.fixture
def library_of(make_motion):
    """Returns make(names): "subject/name" each."""
    motion = make_motion(3, axes="world")
    return lambda names: MotionLibrary([NamedMotion(name, name.split("/")[0], motion) for name in names])


def test_about_a_tenth_of_the_subjects_is_held_out_and_stays_so(library_of, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"s{subject}/{clip}" for subject in range(200) for clip in range(2)]
    with caplog.at_level(logging.INFO, "unimo"):
        train, validation = hold_out(library_of(names))
    assert len(train) + len(validation) == 400 and not set(train.subjects) & set(validation.subjects)
    assert 10 <= len(validation.subjects) <= 30 and len(validation) == 2 * len(validation.subjects)
    (line,) = caplog.messages
    assert line.startswith(f"held out for validation: {len(validation.subjects)} of 200 subjects (s")
    _, more = hold_out(library_of([*names, *(f"t{subject}/0" for subject in range(300))]))
    assert {subject for subject in more.subjects if subject.startswith("s")} == set(validation.subjects)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_of_few_subjects_at_least_one_is_on_each_side(library_of, count) -> None:
    for start in range(20):
        names = [f"s{start + subject}/{clip}" for subject in range(count) for clip in range(3)]
        train, validation = hold_out(library_of(names))
        assert train.subjects and validation.subjects
        assert sorted(train.subjects + validation.subjects) == sorted({name.split("/")[0] for name in names})


def test_one_subject_is_split_by_motions_with_a_warning(library_of, caplog: pytest.LogCaptureFixture) -> None:
    train, validation = hold_out(library_of([f"anna/{clip}" for clip in range(20)]))
    assert len(train) + len(validation) == 20 and 1 <= len(validation) <= 6
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and "shares the subject" in record.getMessage()


def test_one_motion_asks_for_validation_data(library_of) -> None:
    with pytest.raises(InputError, match="one motion cannot be both .*\n.*anna/0\n.*--validation-data"):
        hold_out(library_of(["anna/0"]))
